"""COCO average precision by pycocotools, and its bootstrap over images."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from salcompress.errors import DataError

_BOOTSTRAP_CELLS = 500_000  # resamples x detections of a class that are worked on at a time
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class AveragePrecision(NamedTuple):
    """AP of one kind, boxes or masks."""

    values: dict[str, float | None]
    """``AP_NAMES``, times 100; None where the annotations have no such object."""
    matches: tuple["ClassMatches", ...]
    """What the bootstrap needs."""


class ClassMatches(NamedTuple):
    """Detections of a class over all images, by falling score, at each of T IoU thresholds."""

    image_index: np.ndarray
    """(D,) position of the image in the list that was evaluated."""
    true_positive: np.ndarray
    """(T, D) bool."""
    false_positive: np.ndarray
    """(T, D) bool; a detection of a crowd or of an ignored object is neither."""
    num_objects: np.ndarray
    """(I,) objects to find, by image."""


def average_precision(
    coco: COCO,
    image_ids: Sequence[int],
    detections: Mapping[int, Iterable[Mapping[str, Any]]],
    kind: str,
) -> AveragePrecision:
    """Average precision over the given images.

    Args:
        coco: Annotations.
        image_ids: The images that count, detected in or not.
        detections: COCO results without ``image_id``, by image id.
        kind: ``bbox`` or ``segm``.

    Raises:
        DataError: A detection lacks a key.

    Warns:
        UserWarning: None of the categories detected is annotated.
    """
    evaluation = COCOeval(coco, _results(coco, image_ids, detections, kind), kind)
    evaluation.params.imgIds = list(image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = {
        name: float(v) * 100 if v >= 0 else None for name, v in zip(AP_NAMES, evaluation.stats)
    }
    return AveragePrecision(values, tuple(_class_matches(evaluation)))


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
    """Whether every annotation has a mask."""
    return all(annotation.get("segmentation") for annotation in coco.dataset["annotations"])


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


def _results(coco: COCO, image_ids: Sequence[int], detections: Mapping, kind: str) -> COCO:
    # With a box in the results, loadRes would take a mask's area from its box.
    keep = ("category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    try:
        flat = [
            {"image_id": i, **{key: d[key] for key in keep}}
            for i in image_ids
            for d in detections.get(i, ())
        ]
    except KeyError as error:
        raise DataError(f"a detection lacks {error}; a COCO result has {', '.join(keep)}") from None
    known = set(coco.getCatIds())
    given = {d["category_id"] for d in flat}
    if given and not given & known:
        warnings.warn(
            f"the detector's category ids ({_few(given)}) and those of the annotations "
            f"({_few(known)}) have none "
            "in common: was the detector trained for another data set?",
            stacklevel=3,
        )
    with contextlib.redirect_stdout(io.StringIO()):
        if flat:
            return coco.loadRes(flat)
        results = COCO()  # loadRes does not take an empty list
        results.dataset = {
            "images": coco.dataset["images"],
            "categories": coco.dataset["categories"],
            "annotations": [],
        }
        results.createIndex()
    return results


def _class_matches(evaluation: COCOeval) -> Iterable[ClassMatches]:
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
            num_objects[i] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        if not num_objects.any():
            continue
        order = np.argsort(
            -np.concatenate([e["dtScores"] for _, e in entries]), kind="mergesort"
        )  # as pycocotools
        matched = np.concatenate([e["dtMatches"] for _, e in entries], axis=1)[:, order] > 0
        counts = ~np.concatenate([e["dtIgnore"] for _, e in entries], axis=1)[:, order].astype(bool)
        index = np.concatenate([np.full(len(e["dtScores"]), i) for i, e in entries])[order]
        yield ClassMatches(index.astype(np.int32), matched & counts, ~matched & counts, num_objects)


def _few(ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:5])) + (", ..." if len(ordered) > 5 else "")
