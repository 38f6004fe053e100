"""Learned codecs of CompressAI behind our protocol: for comparison of speed and rate only (extra
``[bench]``).
"""

import struct
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from salcompress.codecs.base import Codec, Option, convert_options
from salcompress.codecs.classical import integer
from salcompress.errors import (
    CodecUnavailableError,
    CorruptError,
    DataError,
    SettingError,
    TruncatedError,
)
from salcompress.image import check_image, to_tensor

MODELS = ("bmshj2018-hyperprior", "mbt2018", "cheng2020-anchor")


def _model_name(value: Any) -> str:
    if value not in MODELS:
        raise ValueError(f"one of {', '.join(MODELS)}")
    return value


def _weights_name(value: Any) -> str:
    if value not in ("pretrained", "random"):
        raise ValueError("pretrained or random")
    return value


class CompressaiCodec(Codec):
    """A model of CompressAI's zoo (Begaint et al. 2020), MSE-optimised, with its own float prior
    and range coder.

    Streams hold height and width, then each string with its length. They decode on the machine that
    made them; on another the float prior may not give the same tables.

    Raises:
        CodecUnavailableError: CompressAI is not installed.
        DataError: Its trained weights cannot be downloaded; ``weights=random`` times the model
            without them.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "quality": Option(3, integer(1, 8), "quality"),
        "model": Option("bmshj2018-hyperprior", _model_name, "which model"),
        "weights": Option("pretrained", _weights_name, "pretrained or random"),
    }
    name = "compressai"

    def __init__(self, **options: Any):
        unknown = set(options) - set(self.OPTIONS)
        if unknown:
            raise SettingError(
                f"{self.name} has no option {min(unknown)!r}; valid: {', '.join(self.OPTIONS)}"
            )
        self.options = convert_options(type(self), options)
        try:
            import compressai
            from compressai.zoo import image_models
        except ModuleNotFoundError:
            raise CodecUnavailableError(
                'codec compressai needs CompressAI: pip install "salcompress[bench]"'
            ) from None
        try:
            model = image_models[self.options["model"]](
                quality=self.options["quality"], pretrained=self.options["weights"] == "pretrained"
            )
        except OSError as error:
            raise DataError(
                f"the trained weights of {self.options['model']} cannot be downloaded ({error}); "
                "weights=random times it without them"
            ) from error
        self.model = model.eval()
        self.model.update(force=True)
        self.setting = ",".join(f"{key}={value}" for key, value in self.options.items())
        self.fingerprint = f"compressai:{self.setting}@{compressai.__version__}"

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
