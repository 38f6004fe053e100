"""All image conventions of the project.

An image is a uint8 array (H, W, 3), RGB, upright (EXIF orientation applied). Networks see float
NCHW in [0, 1]. A rate is bits per pixel of that upright image.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from salcompress.errors import CorruptError, DataError, SettingError, TruncatedError
from salcompress.files import read_file

if TYPE_CHECKING:
    from torch import Tensor

PLACE = 16
"""Side in pixels of the square places by which maps of an image are kept: where bits went, where
saliency lies.
"""
IMAGE_ENDINGS = frozenset(
    {
        ".avif",
        ".bmp",
        ".gif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""File names that are taken for images where a folder is given."""
_DIRECT_MODES = {
    "RGB",
    "L",
    "1",
    "P",
    "PA",
    "LA",
    "La",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
}
_SIXTEEN_BIT_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}


def decode_image(stream: bytes) -> np.ndarray:
    """Pixels of an image file held in memory, in any format that Pillow reads.

    Grey, palette and CMYK images become RGB; an alpha channel is dropped without blending, as
    Detectron2 does; 16-bit samples keep their high byte.

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
    try:
        with Image.open(io.BytesIO(stream)) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode in _SIXTEEN_BIT_MODES:
                grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            if upright.mode not in _DIRECT_MODES:
                raise CorruptError(
                    f"samples of type {upright.mode!r} have no agreed 8-bit range; convert to 8 "
                    "bits first"
                )
            # A copy: np.asarray of a Pillow image is read-only, and torch refuses to share it.
            return np.array(upright.convert("RGB"))
    except UnidentifiedImageError as error:
        raise CorruptError("not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise CorruptError(f"refused: {error}") from error
    except CorruptError:
        raise
    except Exception as error:  # damaged files make Pillow's readers raise errors of a dozen kinds
        kind = TruncatedError if "truncated" in str(error).lower() else CorruptError
        raise kind(f"damaged image: {error}") from error


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
    try:
        with Image.open(path) as file:
            width, height = file.size
            # Pillow decodes a whole PNG in search of EXIF data behind its pixels; a turn noted
            # there is found when the image is decoded.
            exif = file.getexif() if file.format != "PNG" or "exif" in file.info else {}
            quarter_turn = exif.get(0x0112, 1) in (5, 6, 7, 8)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: refused: {error}") from error
    except Exception as error:  # as in decode_image
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return (width, height) if quarter_turn else (height, width)


def encode_image(image: np.ndarray, image_format: str, **options) -> bytes:
    """An image file in memory, by Pillow; ``options`` are those of its writer."""
    check_image(image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def check_image(image: np.ndarray) -> None:
    """Raise unless ``image`` is what this package calls an image.

    Raises:
        SettingError: Not a uint8 array (H, W, 3) with at least one pixel.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
    ):
        came = (
            f"{image.dtype} {image.shape}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise SettingError(f"image must be a uint8 array (H, W, 3), got {came}")
    if image.size == 0:
        raise SettingError(f"image must have at least one pixel, got shape {image.shape}")


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
