"""RGB to the YCbCr samples that video codecs take, and back.

The matrix is that of ITU-R BT.601 over the full range, which JPEG (JFIF) and AVIF use here, too. A
sample has 10 bits, so that the conversion alone costs next to nothing: without loss of a codec
4:4:4 comes back with every pixel as it was.
"""

from collections.abc import Sequence

import cv2
import numpy as np

DEPTH = 10
"""Bits of a sample."""
_MAX = (1 << DEPTH) - 1
_MIDDLE = 1 << (DEPTH - 1)
"""Sample of a chroma plane where the image is grey."""
_KR, _KB = 0.299, 0.114
_TO_YCBCR = np.array(
    [
        [_KR, 1 - _KR - _KB, _KB],
        [-_KR / (2 - 2 * _KB), -(1 - _KR - _KB) / (2 - 2 * _KB), 0.5],
        [0.5, -(1 - _KR - _KB) / (2 - 2 * _KR), -_KB / (2 - 2 * _KR)],
    ]
)
"""ITU-R BT.601-7, section 2.5.1 and 2.5.2, https://www.itu.int/rec/R-REC-BT.601."""
_TO_RGB = np.linalg.inv(_TO_YCBCR)


def rgb_to_ycbcr(image: np.ndarray, subsampling: int) -> list[np.ndarray]:
    """Planes Y, Cb and Cr of an image.

    With 4:2:0 a chroma sample is the mean of four pixels and stands in their middle, as in JPEG.

    Args:
        image: uint8 (H, W, 3), RGB; H and W are even with 4:2:0.
        subsampling: 444 or 420.

    Returns:
        uint16 planes, the range is 0 to 1023: (H, W), and chroma (H, W) or (H/2, W/2).

    >>> [int(plane[0, 0]) for plane in rgb_to_ycbcr(np.full((2, 2, 3), 255, np.uint8), 420)]
    [1023, 512, 512]
    """
    samples = cv2.transform(image.astype(np.float32), _MAX / 255 * _TO_YCBCR)
    planes = [samples[:, :, 0], samples[:, :, 1] + _MIDDLE, samples[:, :, 2] + _MIDDLE]
    if subsampling == 420:
        height, width = image.shape[:2]
        planes[1:] = [
            cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            for plane in planes[1:]
        ]
    return [np.clip(np.rint(plane), 0, _MAX).astype(np.uint16) for plane in planes]


def ycbcr_to_rgb(planes: Sequence[np.ndarray]) -> np.ndarray:
    """The image of planes Y, Cb and Cr, as :func:`rgb_to_ycbcr` gives them.

    Chroma planes that are smaller than Y are enlarged linearly, as JPEG's and AVIF's decoders do.

    Returns:
        uint8 (H, W, 3), RGB, rounded to the nearest value.
    """
    height, width = planes[0].shape
    samples = np.empty((height, width, 3), np.float32)
    for k, plane in enumerate(planes):
        values = plane.astype(np.float32) - (_MIDDLE if k else 0)
        if values.shape != (height, width):
            values = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
        samples[:, :, k] = values
    rgb = cv2.transform(samples, 255 / _MAX * _TO_RGB)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
