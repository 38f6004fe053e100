"""One reading of COCO's segmentations: polygons and run lengths become masks of the image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

FARTHEST = 100_000
"""Pixels from the origin beyond which no vertex is believed; drawing it would take memory only."""


def read_segmentation(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """The mask of an annotation.

    A segmentation in COCO's format is a list of polygons ``[x0, y0, x1, y1, ...]``, or run lengths
    ``{"size": [height, width], "counts": [...] or text}``. A single polygon without the outer list,
    points in pairs, and numbers as text have one meaning alone, and are read, too. A polygon of
    fewer than three points covers nothing.

    Args:
        segmentation: As the annotation has it; None where it has none.
        height, width: Of the image, in pixels.

    Returns:
        Compressed run lengths ``{"size": [height, width], "counts": text}``, as detectors return
        masks. None where there is no segmentation, or where it covers no pixel.

    Raises:
        ValueError: The segmentation cannot be read for certain; the message says why.

    >>> square = [2, 1, 5, 1, 5, 3, 2, 3]
    >>> mask_util.area(read_segmentation([square], 10, 12)).item()
    6
    >>> read_segmentation([[2, 1, 5, 1]], 10, 12) is None
    True
    """
    if segmentation is None or (isinstance(segmentation, (list, dict)) and not segmentation):
        return None
    if isinstance(segmentation, list):
        polygons = [p for p in map(_read_polygon, _polygons(segmentation)) if len(p) >= 6]
        if not polygons:
            return None
        mask = mask_util.merge(mask_util.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, Mapping):
        mask = _read_run_lengths(segmentation, height, width)
    else:
        raise ValueError(
            f"segmentation must be polygons or run lengths, got {_shown(segmentation)}"
        )
    if mask_util.area(mask) == 0:
        return None
    return {"size": [height, width], "counts": mask["counts"].decode()}


def _polygons(segmentation: list) -> list:
    """A list of polygons, whether the outer list is there or not."""
    if not isinstance(segmentation[0], list):
        return [segmentation]  # one polygon, flat
    if all(_is_point(entry) for entry in segmentation):
        return [segmentation]  # one polygon, its points in pairs
    return segmentation


def _read_polygon(polygon: Any) -> list[float]:
    """Coordinates x0, y0, x1, y1, ... of a polygon."""
    if not isinstance(polygon, list):
        raise ValueError(f"a polygon must be a list of coordinates, got {_shown(polygon)}")
    if polygon and all(_is_point(entry) for entry in polygon):
        polygon = [number for point in polygon for number in point]
    try:
        coordinates = np.array(polygon, dtype=np.float64)
    except (TypeError, ValueError):
        coordinates = np.array(np.nan)
    if coordinates.ndim != 1 or not np.isfinite(coordinates).all():
        raise ValueError(f"a polygon's coordinates must be finite numbers, got {_shown(polygon)}")
    if len(coordinates) % 2:
        raise ValueError(f"a polygon needs an y for each x, got {len(coordinates)} numbers")
    if len(coordinates) and np.abs(coordinates).max() > FARTHEST:
        raise ValueError(f"a polygon lies outside of any image: {_shown(polygon)}")
    return coordinates.tolist()


def _is_point(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and not isinstance(entry[0], list)


def _read_run_lengths(segmentation: Mapping, height: int, width: int) -> dict[str, Any]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(
            f"the size of its run lengths must be that of the image, [{height}, {width}] "
            f"(height, width), got {_shown(size)}"
        )
    if isinstance(counts, str):
        lengths = _decode_lengths(counts)
    elif isinstance(counts, list) and all(type(n) is int for n in counts):
        lengths = counts
    else:
        raise ValueError(f"its run lengths must be text or whole numbers, got {_shown(counts)}")
    if min(lengths, default=0) < 0 or sum(lengths) != height * width:
        raise ValueError(
            f"its run lengths must add up to the {height * width} pixels of the image, got "
            f"{sum(lengths)}"
        )
    return mask_util.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _decode_lengths(counts: str) -> Sequence[int]:
    """Run lengths of COCO's compressed text.

    Each character holds five bits of a length and whether more follow; from the fourth length on it
    is the difference to the length two before (``rleFrString`` of pycocotools, which does not
    check what it reads).
    """
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its run lengths hold a character of no meaning: {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its run lengths end within a number")
    return lengths


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
