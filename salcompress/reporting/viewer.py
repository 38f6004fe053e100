"""What the page's viewer shows: pictures at each setting, their maps, and what was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as mask_util

from salcompress.evaluation.annotated_objects import AnnotatedObjects
from salcompress.evaluation.kept_pictures import kept_pictures
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.run_folder import maps_path, picture_path
from salcompress.image import read_size
from salcompress.reporting.maps import load_maps
from salcompress.reporting.seen import Seen, SeenImage
from salcompress.reporting.stored_pictures import store_pictures

_OUTLINE_PIXELS = 0.8
"""An outline of a mask leaves the mask by at most so much."""


class Viewer(NamedTuple):
    """The pictures of a page."""

    image_ids: tuple[int | str, ...]
    content: dict[str, Any]
    """As ``page/viewer.js`` reads it; all of it can be json."""


def load_viewer(
    folder: Path, rows: Sequence[RatePoint], seen: Seen, objects: AnnotatedObjects
) -> Viewer | None:
    """The pictures that an evaluation kept; None if it kept none.

    Args:
        folder: Of the run.
        rows: Settings that are shown.
        seen: What was measured, see :func:`salcompress.reporting.seen.read_seen`.
        objects: Annotated objects of the run's images.

    Raises:
        DataError: A file of the folder is damaged.
    """
    kept = [i for i in kept_pictures(folder) if i in objects.by_image]
    if not kept:
        return None
    shots = {
        (image_id, k): path
        for image_id in kept
        for k, row in enumerate(rows)
        if (path := _picture(folder, image_id, row, seen)) is not None
    }
    originals = {image_id: picture_path(folder, image_id) for image_id in kept}
    stored = store_pictures([*originals.values(), *shots.values()])
    images = [
        _image(folder, image_id, originals[image_id], objects.by_image[image_id])
        | {
            "original": stored.uris[originals[image_id]],
            "shots": [
                _shot(folder, k, rows[k], seen[rows[k].fingerprint][image_id])
                | {"picture": stored.uris[path]}
                for (shown, k), path in shots.items()
                if shown == image_id
            ],
        }
        for image_id in kept
    ]
    for image_id, image in zip(kept, images):
        image["name"] = next(
            (s[image_id].record.file_name for s in seen.values() if image_id in s), str(image_id)
        )
    content = {"images": images, "classes": dict(objects.categories), "note": stored.note}
    return Viewer(tuple(kept), content)


def _picture(folder: Path, image_id: int | str, row: RatePoint, seen: Seen) -> Path | None:
    """File of an image at a setting; the original's where the copy is exact."""
    image = seen[row.fingerprint].get(image_id)
    if image is None:
        return None
    if image.record.psnr is None:
        return picture_path(folder, image_id)
    path = picture_path(folder, image_id, row.label, row.fingerprint)
    return path if path.exists() else None


def _image(
    folder: Path, image_id: int | str, path: Path, there: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    height, width = read_size(path)
    return {
        "height": height,
        "width": width,
        "objects": [
            {
                "box": _rounded(found["bbox"]),
                "class": found["category_id"],
                "crowd": bool(found["iscrowd"]),
            }
            for found in there
        ],
    }


def _shot(folder: Path, k: int, row: RatePoint, image: SeenImage) -> dict[str, Any]:
    """One image at one setting, without its picture."""
    record = image.record
    maps = load_maps(
        maps_path(folder, record.image_id, row.label, row.fingerprint), record.height, record.width
    )
    return {
        "row": k,
        "bits": record.num_bits,
        "psnr": record.psnr,
        "finds": [
            {
                "box": _rounded(found["bbox"]),
                "class": found["category_id"],
                "score": round(found["score"], 3),
                "object": hit,
                "outline": _outline(found.get("segmentation")),
            }
            for found, hit in zip(image.finds.detections, image.finds.found)
        ],
        "maps": {m.name: m._asdict() for m in maps},
    }


def _rounded(box: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in box]


def _outline(mask: Any) -> str | None:
    """The outline of a mask as the path of an SVG, in pixels; None for a detection without one."""
    if not isinstance(mask, dict):
        return None
    contours, _ = cv2.findContours(
        mask_util.decode(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return "".join(
        "M" + "L".join(f"{x},{y}" for x, y in points) + "Z"
        for contour in contours
        if len(points := _thinned(contour)) > 2
    )


def _thinned(contour: np.ndarray) -> list[list[int]]:
    return cv2.approxPolyDP(contour, _OUTLINE_PIXELS, True)[:, 0].tolist()
