"""Classical codecs, as Pillow writes and reads them.

They code the pixels alone: what else a source file carries (colour profile, EXIF, comments) is not
copied into the stream, so it burdens no codec's rate. Pillow by itself would copy colour profiles
into AVIF, but not into JPEG or WebP.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import PIL
from PIL import features

from salcompress.codecs.base import (
    Codec,
    Option,
    choice_option,
    convert_options,
    integer_option,
    number_option,
)
from salcompress.errors import CodecUnavailableError, CorruptError, SettingError
from salcompress.image import decode_image, encode_image


class PillowCodec(Codec):
    """A file format of Pillow's. Subclasses say which, and how options become those of the writer.

    The keyword arguments are those of ``OPTIONS``.

    Raises:
        SettingError: An option is unknown or out of range.
        CodecUnavailableError: Pillow was built without the format's library.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]
    name: str
    image_format: str
    """Pillow's name of the format."""
    feature: str
    """Pillow's name of the library."""
    magic: tuple[int, bytes]
    """Offset and bytes that every file of the format has."""

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        if not features.check(self.feature):
            raise CodecUnavailableError(
                f"codec {self.name}: this Pillow ({PIL.__version__}) was built without it; "
                "install Pillow >= 11.3 from a wheel"
            )
        self.setting = ",".join(f"{key}={value}" for key, value in self.options.items())
        self.fingerprint = (
            f"{self.name}:{self.setting}@pillow-{PIL.__version__}-{features.version(self.feature)}"
        )

    def writer_options(self) -> dict[str, Any]:
        """Options of Pillow's writer."""
        raise NotImplementedError

    def encode(self, image: np.ndarray) -> bytes:
        try:
            return encode_image(image, self.image_format, **self.writer_options())
        except SettingError:  # it is no image
            raise
        except Exception as error:  # Pillow's writers raise OSError, ValueError, RuntimeError, ...
            height, width = image.shape[:2]
            raise SettingError(
                f"{self.name} cannot encode an image of {width}x{height} (width x height): {error}"
            ) from error

    def decode(self, stream: bytes) -> np.ndarray:
        offset, magic = self.magic
        if stream and stream[offset : offset + len(magic)] != magic[: max(0, len(stream) - offset)]:
            raise CorruptError(f"not a {self.image_format} file")
        return decode_image(stream)


_SUBSAMPLING = choice_option(420, (420, 422, 444), "chroma subsampling")


class JpegCodec(PillowCodec):
    """Baseline JPEG by libjpeg-turbo, default Huffman tables."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(75, 1, 100, "quality"),
        "subsampling": _SUBSAMPLING,
    }
    name, image_format, feature, magic = "jpeg", "JPEG", "jpg", (0, b"\xff\xd8\xff")

    def writer_options(self) -> dict[str, Any]:
        return {
            "quality": self.options["q"],
            "subsampling": _with_colons(self.options["subsampling"]),
        }


class Jpeg2000Codec(PillowCodec):
    """JPEG 2000 by OpenJPEG, with its colour transform and irreversible wavelet, as a .jp2 file.

    ``bpp`` is the target of OpenJPEG's rate control. What counts as the rate is the file.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "bpp": number_option(0.5, 0, 24, "target rate in bits per pixel", above_low=True)
    }
    name, image_format, feature, magic = "jpeg2000", "JPEG2000", "jpg_2000", (4, b"jP  ")

    def writer_options(self) -> dict[str, Any]:
        return {
            "quality_mode": "rates",
            "quality_layers": [24 / self.options["bpp"]],
            "irreversible": True,
            "mct": 1,  # Pillow's default leaves RGB as it is, which costs 3 dB
        }


class WebpCodec(PillowCodec):
    """Lossy WebP by libwebp. Its chroma subsampling is always 4:2:0."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(75, 0, 100, "quality"),
        "method": integer_option(4, 0, 6, "effort; higher is slower and smaller"),
    }
    name, image_format, feature, magic = "webp", "WEBP", "webp", (8, b"WEBP")

    def writer_options(self) -> dict[str, Any]:
        return {"quality": self.options["q"], "method": self.options["method"]}


class AvifCodec(PillowCodec):
    """AVIF by libavif with its AV1 encoder, on two threads.

    With two or more threads libaom makes one and the same stream, that of Pillow's default on any
    machine with several cores; with one thread it makes another (0.7 % longer on COCO images).
    Fixed here so that the stream does not depend on the machine.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(60, 0, 100, "quality"),
        "subsampling": _SUBSAMPLING,
        "speed": integer_option(6, 0, 10, "speed; lower is slower and smaller"),
    }
    name, image_format, feature, magic = "avif", "AVIF", "avif", (4, b"ftyp")

    def writer_options(self) -> dict[str, Any]:
        return {
            "quality": self.options["q"],
            "subsampling": _with_colons(self.options["subsampling"]),
            "speed": self.options["speed"],
            "max_threads": 2,
        }


class PngCodec(PillowCodec):
    """PNG, lossless."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "level": integer_option(6, 0, 9, "zlib compression level")
    }
    name, image_format, feature, magic = "png", "PNG", "zlib", (0, b"\x89PNG")

    def writer_options(self) -> dict[str, Any]:
        return {"compress_level": self.options["level"]}


def _with_colons(subsampling: int) -> str:
    """Subsampling as Pillow writes it: ``4:2:0`` for 420."""
    return ":".join(str(subsampling))
