"""JPEG by jpegli, a better encoder of the same format. It needs the extra ``[codecs]``."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from salcompress.codecs.base import Codec, Option, convert_options, integer_option
from salcompress.errors import CodecUnavailableError, CorruptError, SettingError
from salcompress.image import check_image, decode_image


class JpegliCodec(Codec):
    """JPEG written by jpegli, with its adaptive quantization, and read by Pillow.

    The binding gives no choice of chroma subsampling: it is 4:2:0. jpegli: Google, 2024,
    https://github.com/google/jpegli.

    Raises:
        SettingError: An option is unknown or out of range.
        CodecUnavailableError: The extra ``[codecs]`` is missing.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {"q": integer_option(75, 1, 100, "quality")}
    name = "jpegli"

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        try:
            import pyjpegli  # noqa: F401
        except ModuleNotFoundError:
            raise CodecUnavailableError(
                'codec jpegli needs pyjpegli: pip install "salcompress[codecs]"'
            ) from None
        self.setting = f"q={self.options['q']}"
        version = importlib.metadata.version("pyjpegli")
        self.fingerprint = f"jpegli:{self.setting}@pyjpegli-{version}"

    def encode(self, image: np.ndarray) -> bytes:
        import pyjpegli

        check_image(image)
        height, width = image.shape[:2]
        try:
            return pyjpegli.encode(image.tobytes(), width, height, self.options["q"])
        except (RuntimeError, ValueError) as error:
            raise SettingError(
                f"jpegli cannot encode an image of {width}x{height} (width x height): {error}"
            ) from error

    def decode(self, stream: bytes) -> np.ndarray:
        magic = b"\xff\xd8\xff"
        if stream and not stream.startswith(magic[: len(stream)]):
            raise CorruptError("not a JPEG file")
        return decode_image(stream)
