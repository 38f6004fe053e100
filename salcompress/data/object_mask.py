"""Where the annotated objects of an image are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

from salcompress.errors import DataError


def object_mask(objects: Sequence[Mapping[str, Any]], height: int, width: int) -> np.ndarray:
    """Union of annotated objects, crowds among them.

    An object covers its mask, or its box where it has no mask.

    Args:
        objects: COCO annotations of one image.
        height, width: Of the image, in pixels.

    Returns:
        bool (H, W).

    Raises:
        DataError: An annotation cannot be read; the message names it.

    >>> object_mask([{"bbox": [1, 0, 2, 1]}], height=2, width=4).astype(int)
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    covered = np.zeros((height, width), bool)
    for found in objects:
        try:
            covered |= _mask_of(found, height, width)
        except Exception as error:  # pycocotools raises bare ones
            raise DataError(
                f"annotation {found.get('id')} of image {found.get('image_id')} has no readable "
                f"segmentation or box: {error}"
            ) from error
    return covered


def _mask_of(found: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    segmentation = found.get("segmentation")
    if not segmentation:
        mask = np.zeros((height, width), bool)
        x, y, w, h = found["bbox"]
        mask[max(0, round(y)) : max(0, round(y + h)), max(0, round(x)) : max(0, round(x + w))] = (
            True
        )
        return mask
    if isinstance(segmentation, list):
        coded = mask_util.merge(mask_util.frPyObjects(segmentation, height, width))
    else:  # run lengths as a list, as COCO's files have them, or compressed
        coded = (
            mask_util.frPyObjects(segmentation, height, width)
            if isinstance(segmentation["counts"], list)
            else segmentation
        )
    return mask_util.decode(coded).astype(bool)
