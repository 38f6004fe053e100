"""What a detector returned, checked and made plain."""

from typing import Any

import numpy as np

from salcompress.data.coco import CocoImage
from salcompress.errors import DataError


def plain_detections(detections: Any, image: CocoImage) -> list[dict[str, Any]]:
    """COCO results as plain numbers and text, whatever array library they came from.

    Args:
        detections: What the detector returned.
        image: The image that it saw.

    Returns:
        For each detection ``category_id``, ``bbox`` [x, y, w, h] in pixels, ``score`` and, if the
        detector gives masks, ``segmentation`` as compressed RLE.

    Raises:
        DataError: One is no COCO result; the message names the image and shows it.
    """
    if not isinstance(detections, (list, tuple)):
        raise DataError(
            f"the detector must return a list of COCO results, got {type(detections).__name__} "
            f"for {image.path}"
        )
    return [_plain(found, image) for found in detections]


def _plain(found: Any, image: CocoImage) -> dict[str, Any]:
    try:
        box, score = [float(v) for v in found["bbox"]], float(found["score"])
        result: dict[str, Any] = {
            "category_id": int(found["category_id"]),
            "bbox": box,
            "score": score,
        }
        right = len(box) == 4 and bool(np.isfinite([*box, score]).all())
        if found.get("segmentation") is not None:
            size, counts = found["segmentation"]["size"], found["segmentation"]["counts"]
            result["segmentation"] = {
                "size": [int(v) for v in size],
                "counts": counts.decode() if isinstance(counts, bytes) else str(counts),
            }
            right &= result["segmentation"]["size"] == [image.height, image.width]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        right = False
    if not right:
        raise DataError(
            "the detector returned what is no COCO result (category_id, bbox [x, y, w, h], finite "
            "score, segmentation as compressed RLE of the image's size) for "
            f"{image.path}: {str(found)[:120]}"
        )
    return result
