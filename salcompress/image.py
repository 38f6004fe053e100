"""All image conventions of the project.

An image is a uint8 array (H, W, 3), RGB, upright (EXIF orientation applied). Networks see float
NCHW in [0, 1]. A rate is bits per pixel of that upright image.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from salcompress.errors import CorruptError, DataError, SettingError, TruncatedError
from salcompress.files import read_file

if TYPE_CHECKING:
    from torch import Tensor

PLACE = 16
"""Side in pixels of the square places by which maps of an image are kept: where bits went, where
saliency lies.
"""
IMAGE_ENDINGS = frozenset(
    {".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File names that are taken for images where a folder is given."""
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


class ImageSizes(NamedTuple):
    """Height and width of an image file, before and after its turn by EXIF orientation."""

    upright: tuple[int, int]
    """What every reader of this package gives."""
    stored: tuple[int, int]
    """What a reader gives that passes over the orientation."""


def decode_image(stream: bytes) -> np.ndarray:
    """Pixels of an image file held in memory, in any format that Pillow reads.

    Grey, palette and CMYK images become RGB. An alpha channel is dropped without blending, as
    Detectron2 does. Of 16-bit samples the high byte stays, grey ones as those of colour: white is
    65535, whatever the largest sample. (Detectron2's own reader makes grey ones above 255 white.)

    Of EXIF data the orientation alone is read. Where that cannot be, the image counts as upright,
    as it does in Detectron2.

    Args:
        stream: The whole file.

    Returns:
        uint8 (H, W, 3), RGB, upright.

    Raises:
        TruncatedError: The file is empty or ends too early.
        CorruptError: The file is damaged, not an image, or of samples that have no agreed 8-bit
            range (float, 32 bit).
    """
    if not stream:
        raise TruncatedError("the image is empty (0 bytes)")
    with _errors_of_pillow(stream), Image.open(io.BytesIO(stream)) as file:
        file.load()  # which turns a TIFF, and finds EXIF data that come behind a PNG's pixels
        turn = _TURNS.get(_orientation(file))
        upright = file if turn is None else file.transpose(turn)
        if upright.mode in _SIXTEEN_BIT_MODES:
            grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if Image.getmodetype(upright.mode) != "L":  # Pillow's name for 8 bits, of colour too
            raise CorruptError(
                f"samples of type {upright.mode!r} have no agreed 8-bit range; convert to 8 bits "
                "first"
            )
        # A copy: np.asarray of a Pillow image is read-only, and torch refuses to share it.
        return np.array(upright.convert("RGB"))


def read_image(path: Path | str) -> np.ndarray:
    """Pixels of an image file; see :func:`decode_image`.

    Raises:
        DataError: The file is missing or cannot be decoded; the message names it.
    """
    return decode_named_image(read_file(path), path)


def decode_named_image(stream: bytes, path: Path | str) -> np.ndarray:
    """:func:`decode_image` of a file already read from ``path``, which the error then names.

    Raises:
        DataError: The file cannot be decoded.
    """
    try:
        return decode_image(stream)
    except (TruncatedError, CorruptError) as error:
        raise DataError(f"{path}: {error}") from error


def read_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an upright image, from the file's header alone.

    Raises:
        DataError: The file is missing or its header cannot be read.
    """
    return read_sizes(path).upright


def read_sizes(path: Path | str) -> ImageSizes:
    """Size of an image before and after its turn by EXIF, from the file's header alone.

    Raises:
        DataError: The file is missing or its header cannot be read.
    """
    try:
        with open(path, "rb") as source, _errors_of_pillow(source.read(64)):
            source.seek(0)
            with Image.open(source) as file:
                return _sizes(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}") from error
    except (TruncatedError, CorruptError) as error:
        raise DataError(f"{path}: {error}") from error


def _sizes(file: Image.Image) -> ImageSizes:
    width, height = file.size
    # Pillow decodes a whole PNG in search of EXIF data behind its pixels; a turn noted there is
    # found when the image is decoded.
    searched = file.format != "PNG" or "exif" in file.info
    if not searched or _orientation(file) not in (5, 6, 7, 8):
        return ImageSizes((height, width), (height, width))
    if file.format == "TIFF":  # Pillow gives the size after the turn
        return ImageSizes((height, width), (width, height))
    return ImageSizes((width, height), (height, width))


def _orientation(file: Image.Image) -> int:
    try:
        return file.getexif().get(_ORIENTATION, 1)
    except (
        Exception
    ):  # a damaged EXIF block raises errors of a dozen kinds, and the pixels are fine
        return 1


@contextlib.contextmanager
def _errors_of_pillow(head: bytes) -> Iterator[None]:
    """Within it, errors of Pillow become ours; ``head`` is what the file begins with."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise CorruptError(_unidentified(head[:64])) from error
    except Image.DecompressionBombError as error:
        raise CorruptError(f"refused: {error}") from error
    except CorruptError:
        raise
    except Exception as error:  # damaged files make Pillow's readers raise errors of a dozen kinds
        kind = TruncatedError if "truncated" in str(error).lower() else CorruptError
        raise kind(f"damaged image: {error}") from error


def _unidentified(head: bytes) -> str:
    if head[4:8] == b"ftyp" and b"avif" in head[8:]:
        return (
            "a damaged AVIF image, or this Pillow has no AVIF; install Pillow >= 11.3 from a wheel"
        )
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return (
            "a HEIC image, which Pillow does not read; convert it to PNG or JPEG, or in Python "
            "call pillow_heif.register_heif_opener() first (pip install pillow-heif)"
        )
    return "not an image that Pillow can read"


def encode_image(image: np.ndarray, image_format: str, **options) -> bytes:
    """An image file in memory, by Pillow; ``options`` are those of its writer."""
    check_image(image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def check_image(image: np.ndarray) -> None:
    """Raise unless ``image`` is what this package calls an image.

    Raises:
        SettingError: Not a uint8 array (H, W, 3) with at least one pixel. The message has the line
            that converts what came, where there is one.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
    ):
        came = type(image).__name__
        if hasattr(image, "dtype") and hasattr(image, "shape"):
            came += f" of {image.dtype} {tuple(image.shape)}"
        line = _conversion(image)
        raise SettingError(
            f"image must be a uint8 array (H, W, 3), got {came}"
            + (f"; convert it: {line}" if line else "")
        )
    if image.size == 0:
        raise SettingError(f"image must have at least one pixel, got shape {image.shape}")


def _conversion(image: Any) -> str | None:
    """The line of Python that makes what is called ``image`` an image, None if there is none."""
    if isinstance(image, Image.Image):
        return 'np.array(image.convert("RGB"))'
    if isinstance(image, (str, os.PathLike)):
        return "salcompress.image.read_image(image)"
    if isinstance(image, bytes):
        return "salcompress.image.decode_image(image)"
    line = "image"
    if type(image).__module__ == "torch" and hasattr(image, "detach"):
        image, line = image.detach().cpu().float().numpy(), "image.detach().cpu().float().numpy()"
    if not isinstance(image, np.ndarray) or image.size == 0:
        return None
    if image.ndim == 4 and len(image) == 1:
        image, line = image[0], f"{line}[0]"
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3, 4):
        image, line = image.transpose(1, 2, 0), f"{line}.transpose(1, 2, 0)"
    if image.ndim == 2:
        image, line = image[:, :, None], f"{line}[:, :, None]"
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        return None
    if image.shape[2] == 4:
        line += "[:, :, :3]"
    if image.dtype == np.uint16:
        line = f"({line} >> 8).astype(np.uint8)"
    elif image.dtype != np.uint8:
        scaled = f"{line} * 255" if image.max() <= 1 else line
        line = f"np.clip({scaled}, 0, 255).round().astype(np.uint8)"
    return f"np.repeat({line}, 3, axis=2)" if image.shape[2] == 1 else line


def swap_channels(image: np.ndarray) -> np.ndarray:
    """RGB to BGR or back, (H, W, 3), as a contiguous copy."""
    return np.ascontiguousarray(image[:, :, ::-1])


def to_tensor(image: np.ndarray) -> "Tensor":
    """uint8 (H, W, 3) to float32 (1, 3, H, W) in [0, 1]."""
    import torch

    check_image(image)
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        .float()
        .div_(255)
        .unsqueeze_(0)
    )


def bits_per_pixel(num_bits: int, height: int, width: int) -> float:
    """Rate in bits per pixel of the original image."""
    return num_bits / (height * width)
