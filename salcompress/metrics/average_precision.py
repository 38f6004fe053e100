"""COCO average precision by pycocotools, and its bootstrap over images.

Average precision (AP) is the mean over categories, over ten IoU thresholds from 0.5 to 0.95 and
over 101 recalls of the best precision at that recall or above it: Lin et al., "Microsoft COCO:
common objects in context", ECCV 2014, https://cocodataset.org/#detection-eval. The figures are
those of pycocotools to the last digit; what is ours is that no id has a say in them.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from salcompress.metrics.numbered_coco import numbered_objects, numbered_results

_BOOTSTRAP_CELLS = 500_000  # resamples x detections of a class that are worked on at a time
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class AveragePrecision(NamedTuple):
    """AP of one kind, boxes or masks."""

    values: dict[str, float | None]
    """By ``AP_NAMES``, in [0, 100]; None where the annotations have no such object."""
    matches: tuple["ClassMatches", ...]
    """What the bootstrap needs."""


class ClassMatches(NamedTuple):
    """Detections of a class over all images, by falling score, at each of T IoU thresholds."""

    image_index: np.ndarray
    """(D,) position of the image among the image ids that were given."""
    true_positive: np.ndarray
    """(T, D) bool."""
    false_positive: np.ndarray
    """(T, D) bool; a detection of a crowd or of an ignored object is neither."""
    num_objects: np.ndarray
    """(I,) objects to find, by image."""


def average_precision(
    coco: COCO,
    image_ids: Sequence[int | str],
    detections: Mapping[Any, Iterable[Mapping[str, Any]]],
    kind: str,
) -> AveragePrecision:
    """Average precision over the given images.

    Neither the numbers of images, annotations and categories nor the order of ``image_ids`` changes
    it: everything is numbered anew for pycocotools, images by the order of their file names. (Where
    two detections have one score, pycocotools takes the one of the earlier image first, and an
    annotation of id 0 never counts as found.)

    In mask AP an object without a mask is passed over as a crowd is: what is detected in its box is
    neither right nor wrong.

    Args:
        coco: Annotations, such as those of :class:`~salcompress.data.coco.CocoDataset`.
        image_ids: The images that count, detected in or not.
        detections: COCO results without ``image_id``, by image id: ``category_id``, ``score``,
            ``bbox`` [x, y, w, h] in pixels, for mask AP ``segmentation`` as compressed run lengths.
        kind: ``bbox`` or ``segm``.

    Raises:
        DataError: A detection lacks a key, holds a number that is not finite, or has a mask of
            another size than its image.

    Warns:
        UserWarning: None of the categories detected is annotated, or some objects have no mask.

    >>> coco = COCO()
    >>> coco.dataset = {
    ...     "images": [{"id": 8, "file_name": "a.png", "height": 20, "width": 30}],
    ...     "categories": [{"id": 3, "name": "thing"}],
    ...     "annotations": [
    ...         {
    ...             "image_id": 8,
    ...             "category_id": 3,
    ...             "bbox": [1, 2, 9, 9],
    ...             "area": 81,
    ...             "iscrowd": 0,
    ...             "id": 0,
    ...         }
    ...     ],
    ... }
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     coco.createIndex()
    >>> found = {8: [{"category_id": 3, "bbox": [1, 2, 9, 8], "score": 0.9}]}  # IoU 8 / 9
    >>> round(average_precision(coco, [8], found, "bbox").values["AP"], 6)
    80.0
    """
    # positions by number: image number n of pycocotools is image_ids[order[n]]
    order = sorted(
        range(len(image_ids)), key=lambda k: str(coco.imgs[image_ids[k]].get("file_name"))
    )
    images = [coco.imgs[image_ids[k]] for k in order]
    objects = numbered_objects(coco, images, kind)
    results = numbered_results(coco, images, detections, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(objects, results, kind)
        evaluation.params.imgIds = list(range(len(images)))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = {
        name: float(v) * 100 if v >= 0 else None for name, v in zip(AP_NAMES, evaluation.stats)
    }
    return AveragePrecision(values, tuple(_class_matches(evaluation, np.array(order, int))))


def bootstrap_average_precision(matches: Sequence[ClassMatches], weights: np.ndarray) -> np.ndarray:
    """AP, times 100, of resampled images; NaN where a resample has no object.

    The same figure that pycocotools would give if each image were there as often as its weight
    says.

    Args:
        matches: Of one kind.
        weights: How often each image is in each resample, (B, I).

    Returns:
        (B,)
    """
    most = max([1, *(found.true_positive.shape[1] for found in matches)])
    share = max(
        1, _BOOTSTRAP_CELLS // most
    )  # resamples at a time: memory must not grow with the number of images
    parts = [
        _bootstrap(matches, weights[start : start + share])
        for start in range(0, len(weights), share)
    ]
    return np.concatenate(parts)


def has_masks(coco: COCO) -> bool:
    """Whether any annotation has a mask, so that there is something to measure mask AP on.

    Objects without one are passed over in mask AP; see :func:`average_precision`.
    """
    return any(annotation.get("segmentation") for annotation in coco.dataset["annotations"])


def _bootstrap(matches: Sequence[ClassMatches], weights: np.ndarray) -> np.ndarray:
    thresholds = np.linspace(0, 1, 101)  # pycocotools' recall grid, to the last bit
    total, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for found in matches:
        num_objects = weights @ found.num_objects
        present = num_objects > 0
        precision_sum = np.zeros(len(weights))
        weight = weights[:, found.image_index].astype(np.float64)
        for positive, negative in zip(found.true_positive, found.false_positive):
            at = np.flatnonzero(
                positive
            )  # precision peaks at true positives: the rest need no attention
            if not len(at):
                continue
            hits = np.cumsum(weight[:, at], axis=1)
            misses = np.cumsum(weight * negative, axis=1)[:, at]
            with np.errstate(divide="ignore", invalid="ignore"):
                recall = hits / num_objects[:, None]
                precision = np.where(hits > 0, hits / (hits + misses), 0)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(thresholds, recall, side="right")
            reached[hits == 0] = 0
            precision_sum += (envelope * np.diff(reached, axis=1, prepend=0)).sum(1) / len(
                thresholds
            )
        total += np.where(present, precision_sum / len(found.true_positive), 0)
        counted += present
    with np.errstate(invalid="ignore"):
        return 100 * total / np.where(counted > 0, counted, np.nan)


def _class_matches(evaluation: COCOeval, positions: np.ndarray) -> Iterable[ClassMatches]:
    """Matches of each class that has objects; image number n was given at ``positions[n]``."""
    params = evaluation.params
    num_images, num_areas = len(params.imgIds), len(params.areaRng)
    for category in range(len(params.catIds)):
        first = category * num_areas * num_images  # area 0 is "all"
        entries = [
            (i, e)
            for i, e in enumerate(evaluation.evalImgs[first : first + num_images])
            if e is not None
        ]
        if not entries:
            continue
        num_objects = np.zeros(num_images)
        for i, entry in entries:
            num_objects[positions[i]] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        if not num_objects.any():
            continue
        order = np.argsort(
            -np.concatenate([e["dtScores"] for _, e in entries]), kind="mergesort"
        )  # as pycocotools
        matched = np.concatenate([e["dtMatches"] for _, e in entries], axis=1)[:, order] > 0
        counts = ~np.concatenate([e["dtIgnore"] for _, e in entries], axis=1)[:, order].astype(bool)
        index = np.concatenate([np.full(len(e["dtScores"]), i) for i, e in entries])[order]
        yield ClassMatches(
            positions[index].astype(np.int32), matched & counts, ~matched & counts, num_objects
        )
