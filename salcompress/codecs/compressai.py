"""Learned codecs of CompressAI behind our protocol, for comparison of speed and rate only.

They need the extra ``[bench]``.
"""

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from salcompress.codecs.base import (
    Codec,
    Option,
    choice_option,
    convert_options,
    integer_option,
)
from salcompress.errors import CodecUnavailableError, CorruptError, DataError, TruncatedError
from salcompress.files import digest
from salcompress.image import check_image, to_tensor

if TYPE_CHECKING:
    from torch import nn

MODELS = ("bmshj2018-hyperprior", "mbt2018", "cheng2020-anchor")


class CompressaiCodec(Codec):
    """A model of CompressAI's zoo, optimised for MSE, with its own float prior and range coder.

    Begaint et al., "CompressAI: a PyTorch library and evaluation platform for end-to-end
    compression research", 2020, https://arxiv.org/abs/2011.03029.

    Streams hold height and width, then each string with its length. They decode on the machine that
    made them. On another one the float prior may not give the same tables. ``weights=random`` draws
    the same weights every time, so that its streams decode in other processes.

    Raises:
        CodecUnavailableError: CompressAI is not installed.
        DataError: Its trained weights cannot be downloaded. ``weights=random`` times the model
            without them.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "quality": integer_option(3, 1, 8, "quality"),
        "model": choice_option("bmshj2018-hyperprior", MODELS, "which model"),
        "weights": choice_option("pretrained", ("pretrained", "random"), "which weights"),
    }
    name = "compressai"

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        try:
            import compressai
            from compressai.zoo import image_models
        except ModuleNotFoundError:
            raise CodecUnavailableError(
                'codec compressai needs CompressAI: pip install "salcompress[bench]"'
            ) from None
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = image_models[self.options["model"]](
                    quality=self.options["quality"],
                    pretrained=self.options["weights"] == "pretrained",
                )
        except OSError as error:
            raise DataError(
                f"the trained weights of {self.options['model']} cannot be downloaded ({error}); "
                "weights=random times it without them"
            ) from error
        self.setting = ",".join(f"{key}={value}" for key, value in self.options.items())
        version = f"{compressai.__version__}-{_fingerprint_of(model)}"
        self.fingerprint = f"compressai:{self.setting}@{version}"
        self.model = model.eval()
        self.model.update(force=True)

    def encode(self, image: np.ndarray) -> bytes:
        import torch

        check_image(image)
        height, width = image.shape[:2]
        padded = torch.nn.functional.pad(
            to_tensor(image), (0, -width % 64, 0, -height % 64), mode="replicate"
        )
        with torch.no_grad():
            strings = [group[0] for group in self.model.compress(padded)["strings"]]
        return struct.pack("<IIB", height, width, len(strings)) + b"".join(
            struct.pack("<I", len(s)) + s for s in strings
        )

    def decode(self, stream: bytes) -> np.ndarray:
        import torch

        if len(stream) < 9:
            raise TruncatedError("the stream ends within its header")
        height, width, count = struct.unpack_from("<IIB", stream)
        strings, place = [], 9
        for _ in range(count):
            if len(stream) < place + 4:
                raise TruncatedError("the stream ends within its strings")
            (length,) = struct.unpack_from("<I", stream, place)
            strings.append([stream[place + 4 : place + 4 + length]])
            place += 4 + length
        if place != len(stream):
            raise CorruptError("the stream's length does not match its strings")
        shape = (-(-height // 64), -(-width // 64))
        with torch.no_grad():
            image = self.model.decompress(strings, shape)["x_hat"][0, :, :height, :width]
        return np.ascontiguousarray(
            (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        )


def _fingerprint_of(model: "nn.Module") -> str:
    """Eight hexadecimal digits of the names, types, shapes and values of a model's weights."""
    import torch

    parts: list[str | bytes] = []
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        parts += [name, str(tensor.dtype), str(tuple(tensor.shape)), values.numpy().tobytes()]
    return digest(*parts)[:8]
