"""Pictures as they stand in the page: losslessly where they fit, as AVIF where they do not."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from salcompress.image import decode_image, encode_image, read_image
from salcompress.metrics.psnr_ssim import psnr

BUDGET = 9_000_000
"""Characters of the page that its pictures may take. Plotly takes two million, and the rest of a
page few, so that a page of 12 MB holds them.
"""


class StoredPictures(NamedTuple):
    """What the page holds."""

    uris: dict[Path, str]
    """Data URI by file."""
    note: str
    """A sentence that says how true to the pixels they are."""


class _Way(NamedTuple):
    """One way to store a picture."""

    name: str
    image_format: str
    options: dict[str, object]
    scale: float = 1.0


_FIRST = 10
"""Pictures from which the size of all is guessed."""
_AVIF = {"subsampling": "4:4:4", "speed": 9}
_WAYS = (
    _Way("", "WEBP", {"lossless": True, "quality": 20, "method": 1}),
    _Way("AVIF at quality 97", "AVIF", {"quality": 97, **_AVIF}),
    _Way("AVIF at quality 90", "AVIF", {"quality": 90, **_AVIF}),
    _Way("AVIF at quality 75", "AVIF", {"quality": 75, **_AVIF}),
    _Way("AVIF at quality 75, at half their size", "AVIF", {"quality": 75, **_AVIF}, 1 / 2),
    _Way("AVIF at quality 75, at a quarter of their size", "AVIF", {"quality": 75, **_AVIF}, 1 / 4),
)


def store_pictures(paths: Sequence[Path], budget: int = BUDGET) -> StoredPictures:
    """The first way in which all pictures fit; the last one where none does.

    Args:
        paths: Files of the pictures; one may be there twice.
        budget: Characters for all of them.

    Raises:
        DataError: A file is damaged or missing.
    """
    distinct = _spread(list(dict.fromkeys(paths)))
    for way in _WAYS:
        uris, size, worst = {}, 0, float("inf")
        for done, path in enumerate(distinct, 1):
            picture = _scaled(read_image(path), way.scale)
            data = encode_image(picture, way.image_format, **way.options)
            uris[path] = (
                f"data:image/{way.image_format.lower()};base64,{base64.b64encode(data).decode()}"
            )
            size += len(uris[path])
            # what will not fit by far is seen early
            expected = size if done < _FIRST else max(size, size / done * len(distinct) / 1.5)
            if expected > budget and way is not _WAYS[-1]:
                break
            if way.name:
                worst = min(worst, psnr(picture, decode_image(data)) or worst)
        else:
            return StoredPictures(uris, _note(way, worst))
    raise AssertionError("the last way is taken whatever its size")


def _spread(paths: list[Path]) -> list[Path]:
    """The same in an order of which each beginning is much like the whole.

    Multiples of the golden ratio are spread evenly over [0, 1) after its whole part is dropped.
    """
    order = sorted(range(len(paths)), key=lambda k: k * 0.6180339887 % 1)
    return [paths[k] for k in order]


def _scaled(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _note(way: _Way, worst: float) -> str:
    if not way.name:
        return "Every pixel is the one that the detector saw."
    return (
        f"To keep the page small, its pictures are stored by {way.name}, {worst:.0f} dB or more "
        "from the pixels that the detector saw. These are in the folder pictures."
    )
