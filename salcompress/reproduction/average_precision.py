"""Average precision of detectors on COCO images by bits per pixel, as ``salcompress evaluate``."""

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from salcompress.codecs import Codec, SalientCodec, load_codecs
from salcompress.data.coco import CocoDataset, load_dataset
from salcompress.detectors import load_detector
from salcompress.errors import SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import read_resamples
from salcompress.files import digest
from salcompress.metrics.perceptual import shipped_fingerprint
from salcompress.reproduction.average_precision_tables import (
    bits_table,
    differences_table,
    rows_table,
)
from salcompress.reproduction.part import Figures, Item, Part, Settings
from salcompress.reproduction.sources import learned_weights, with_weights
from salcompress.saliency.objects import ObjectSaliency

_CLASSICAL = ("none", "jpeg:q=5,10,20,30", "webp:q=1,5,10,30", "avif:q=5,10,20,35")
_LEARNED = (
    "salient:saliency=uniform,q=0,0.05,0.1,0.2,0.3,0.45",
    "salient:q=0,0.05,0.1,0.2,0.3,0.45",
)
_BY_BOXES = (0.1, 0.2, 0.3, 0.45)
"""Qualities of the codec that the annotated boxes steer, at this strength:"""
_BOX_STRENGTH = 12
_BOXES = "boxes"
_CLASSICAL_GROUP = "classical"


def _items(settings: Settings) -> list[Item]:
    if not settings.detectors:
        raise SettingError("no detector is named; give --detector path/to/file.py:factory")
    dataset = _dataset(settings)
    metric = shipped_fingerprint()
    detectors = {
        spec: digest(load_detector(spec, dataset.category_ids).fingerprint)[:16]
        for spec in settings.detectors
    }
    items = []
    for group in (_CLASSICAL_GROUP, *learned_weights(), _BOXES):
        codecs = digest(*(codec.fingerprint for codec in _codecs(group, dataset)))[:16]
        for spec, detector in detectors.items():
            of = {
                "dataset": dataset.fingerprint[:16],
                "detector": detector,
                "codecs": codecs,
                "metric": metric if spec == settings.detectors[0] else "",
            }
            if group != _CLASSICAL_GROUP:
                of["weights"] = learned_weights()["photo" if group == _BOXES else group]
            work = functools.partial(_measure, settings, spec, group)
            items.append(Item(f"{_name(spec)}/{group}", of, work))
    return items


def _measure(settings: Settings, detector_spec: str, group: str) -> list[dict[str, Any]]:
    dataset = _dataset(settings)
    with _cores_left_to(settings.workers):
        rows = evaluate(
            dataset,
            load_detector(detector_spec, dataset.category_ids),
            _codecs(group, dataset),
            _folder(settings, detector_spec),
            # so that each picture is encoded once for all detectors
            cache=settings.out / "streams",
            workers=settings.workers,
            show_progress=True,
            # it does not depend on the detector, and takes as long as all else together
            with_perceptual=detector_spec == settings.detectors[0],
        )
    return [row._asdict() for row in rows]


@contextlib.contextmanager
def _cores_left_to(workers: int) -> Iterator[None]:
    """Within it, this process computes on the cores that its workers leave."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _codecs(group: str, dataset: CocoDataset) -> list[Codec]:
    if group == _CLASSICAL_GROUP:
        return load_codecs(*_CLASSICAL)
    if group != _BOXES:
        return load_codecs(*(with_weights(spec, group) for spec in _LEARNED))
    saliency = _boxes_of(dataset)
    return [SalientCodec(q, saliency=saliency, saliency_strength=_BOX_STRENGTH) for q in _BY_BOXES]


def _dataset(settings: Settings) -> CocoDataset:
    folder = settings.data / "coco_val"
    return load_dataset(folder / "images", folder / "instances.json")


_known_boxes: dict[str, ObjectSaliency] = {}


def _boxes_of(dataset: CocoDataset) -> ObjectSaliency:
    """The boxes of a data set; its images are read once."""
    if dataset.fingerprint not in _known_boxes:
        _known_boxes[dataset.fingerprint] = ObjectSaliency(dataset)
    return _known_boxes[dataset.fingerprint]


def _folder(settings: Settings, detector_spec: str) -> Path:
    return settings.out / "average-precision" / _name(detector_spec)


def _name(detector_spec: str) -> str:
    """What a detector's folder and tables are called.

    >>> _name("tools/yolox_nano.py:build"), _name("scenes")
    ('yolox_nano', 'scenes')
    """
    file = re.fullmatch(r"(.+)\.py(:\w+)?", detector_spec)
    return Path(file[1]).name if file else re.sub(r"\W+", "-", detector_spec)


def _tables(settings: Settings, figures: Figures) -> Mapping[str, str]:
    tables = {}
    for spec in settings.detectors:
        name = _name(spec)
        rows = [
            RatePoint(**row)
            for item, of_group in figures.items()
            if item.split("/")[0] == name
            for row in of_group
        ]
        resamples = read_resamples(_folder(settings, spec))
        tables[f"ap-{name}"] = rows_table(rows)
        tables[f"ap-{name}-differences"] = differences_table(rows, resamples)
        tables[f"ap-{name}-bits"] = bits_table(rows, resamples)
    return tables


AVERAGE_PRECISION = Part(
    "average-precision",
    "detectors on 60 images of COCO val2017",
    _items,
    _tables,
    guess_s=1200,
)
