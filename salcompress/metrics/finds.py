"""What a detector found in one picture, held against what is there: hits, misses, false finds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_util

MIN_SCORE = 0.3
"""Detections below this score count for nothing here."""
MIN_IOU = 0.5
"""A hit overlaps its object by at least this intersection over union of the boxes."""


class Finds(NamedTuple):
    """The detections of one picture that reach ``MIN_SCORE``, each with its part."""

    detections: tuple[Mapping[str, Any], ...]
    """By falling score."""
    found: tuple[int | None, ...]
    """For each of them the position of the object that it hits; None is a false find."""

    @property
    def hits(self) -> frozenset[int]:
        """Positions of the objects that were found."""
        return frozenset(k for k in self.found if k is not None)

    @property
    def num_false(self) -> int:
        """Detections that hit no object."""
        return self.found.count(None)


def match(objects: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> Finds:
    """Hold detections against annotated objects.

    As in COCO's evaluation, each detection, by falling score, takes the object of its category that
    it overlaps most and that none before it took. One that lies in a crowd is left out.

    Args:
        objects: ``bbox`` [x, y, w, h], ``category_id`` and ``iscrowd`` of each.
        detections: COCO results.

    >>> cat = {"bbox": [0, 0, 10, 10], "category_id": 1, "iscrowd": 0}
    >>> found = match([cat], [cat | {"score": 0.9}, cat | {"score": 0.8}])
    >>> found.hits, found.num_false
    (frozenset({0}), 1)
    """
    seen = sorted((d for d in detections if d["score"] >= MIN_SCORE), key=lambda d: -d["score"])
    if not seen:
        return Finds((), ())
    overlaps = np.zeros((len(seen), 0))
    if objects:
        overlaps = mask_util.iou(
            np.array([d["bbox"] for d in seen], float),
            np.array([o["bbox"] for o in objects], float),
            [int(o["iscrowd"]) for o in objects],
        )
    taken: set[int] = set()
    kept, found = [], []
    for detection, overlap in zip(seen, overlaps):
        reached = [
            k
            for k, there in enumerate(objects)
            if there["category_id"] == detection["category_id"] and overlap[k] >= MIN_IOU
        ]
        free = [k for k in reached if k not in taken and not objects[k]["iscrowd"]]
        if not free and any(objects[k]["iscrowd"] for k in reached):
            continue
        best = max(free, key=lambda k: overlap[k], default=None)
        if best is not None:
            taken.add(best)
        kept.append(detection)
        found.append(best)
    return Finds(tuple(kept), tuple(found))
