"""Annotations and detections numbered anew, so that pycocotools' use of ids has no say in AP.

pycocotools looks annotations up by id, takes id 0 for "no match", and orders images and categories
by their ids. Here image n is the n-th of a list, and annotations and results count from 1.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pycocotools import mask as mask_util
from pycocotools.coco import COCO

from salcompress.errors import DataError


def numbered_objects(coco: COCO, images: Sequence[Mapping[str, Any]], kind: str) -> COCO:
    """Annotations of some images.

    For mask AP an object without a mask becomes a crowd in its box, which pycocotools passes over.

    Args:
        coco: Annotations.
        images: The images, as ``coco`` has them.
        kind: ``bbox`` or ``segm``.

    Warns:
        UserWarning: Some objects have no mask, and others have, in mask AP.
    """
    objects: list[dict[str, Any]] = []
    without_mask = 0
    for number, image in enumerate(images):
        for annotation in coco.imgToAnns.get(image["id"], ()):
            found = dict(annotation) | {"id": len(objects) + 1, "image_id": number}
            if kind == "segm" and not found.get("segmentation"):
                without_mask += not found["iscrowd"]
                x, y, w, h = found["bbox"]
                found["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                found["iscrowd"] = 1
            objects.append(found)
    if 0 < without_mask < len(objects):
        warnings.warn(
            f"{without_mask} of {len(objects)} annotated objects have no mask; mask AP passes over "
            "them, and box AP counts them",
            stacklevel=4,
        )
    return _index(coco, images, objects)


def numbered_results(
    coco: COCO,
    images: Sequence[Mapping[str, Any]],
    detections: Mapping[Any, Iterable[Mapping[str, Any]]],
    kind: str,
) -> COCO:
    """Detections in some images, with what pycocotools' ``loadRes`` would give them.

    Args:
        coco: Annotations.
        images: The images, as ``coco`` has them.
        detections: COCO results without ``image_id``, by the image ids of ``coco``.
        kind: ``bbox`` or ``segm``.

    Raises:
        DataError: A detection lacks a key, holds a number that is not finite, or has a mask of
            another size than its image.

    Warns:
        UserWarning: None of the categories detected is annotated.
    """
    # With a box in the results, a mask's area would be taken from it.
    keep = ("category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    results: list[dict] = []
    for number, image in enumerate(images):
        for detection in detections.get(image["id"], ()):
            try:
                result = {key: detection[key] for key in keep}
            except KeyError as error:
                raise DataError(
                    f"a detection lacks {error}; a COCO result has {', '.join(keep)}"
                ) from None
            _check_result(result, image)
            results.append(result | {"id": len(results) + 1, "image_id": number, "iscrowd": 0})
    _warn_of_foreign_categories(coco, results)
    for result in results:
        if kind == "bbox":
            result["area"] = result["bbox"][2] * result["bbox"][3]
        else:  # one by one: pycocotools 2.0.11 cannot take over 255 masks at a time
            mask = result["segmentation"]
            result |= {"area": mask_util.area(mask), "bbox": mask_util.toBbox(mask)}
    return _index(coco, images, results)


def _check_result(result: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    numbers = [result["score"], *result.get("bbox", ())]
    if not all(map(math.isfinite, numbers)):
        raise DataError(
            f"a detection in {image.get('file_name')} must have a finite score and bbox, got "
            f"{dict(result)!s:.100}"
        )
    size = list(result["segmentation"]["size"]) if "segmentation" in result else None
    if size not in (None, [image["height"], image["width"]]):
        raise DataError(
            f"a mask detected in {image.get('file_name')} must be of the image's size, "
            f"[{image['height']}, {image['width']}] (height, width), got {size}"
        )


def _warn_of_foreign_categories(coco: COCO, results: Sequence[Mapping]) -> None:
    known = set(coco.getCatIds())
    given = {result["category_id"] for result in results}
    if given and not given & known:
        warnings.warn(
            f"the detector's category ids ({_few(given)}) and those of the annotations "
            f"({_few(known)}) have none "
            "in common: was the detector trained for another data set?",
            stacklevel=5,
        )


def _index(coco: COCO, images: Sequence[Mapping], annotations: list[dict]) -> COCO:
    """Numbered annotations or results as pycocotools wants them."""
    indexed = COCO()
    indexed.dataset = {
        "images": [dict(image) | {"id": number} for number, image in enumerate(images)],
        "categories": coco.dataset["categories"],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        indexed.createIndex()
    return indexed


def _few(ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:5])) + (", ..." if len(ordered) > 5 else "")
