"""How well saliency is found, and what steering by it does."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.metrics.saliency_scores import SaliencyScores, mean_scores
from salcompress.reporting.tables import markdown_table
from salcompress.reproduction.part import Figures, Item, Part, Settings
from salcompress.reproduction.sources import content_of, learned_weights
from salcompress.saliency.functions import (
    classical_saliency,
    network_fingerprint,
    network_saliency,
)
from salcompress.training.saliency.folds import (
    centre_prior,
    score_by_folds,
    score_maps,
    scores_table,
)
from salcompress.training.saliency.pairs import SaliencyPair, load_pairs
from salcompress.training.saliency.start import backbone_weights
from salcompress.training.saliency.steering import HEADER, steering_rows
from salcompress.training.saliency.train import SaliencySchedule, load_data

_UNSEEN = "saliency_duts"
_EVERY = 10
"""Trainings on this folder hold out each tenth of its pairs."""
_SEEN = "saliency"
_BACKBONE = "detector/mask_rcnn_nano.safetensors"
_QUALITIES = (0.3, 0.5)
_STRENGTHS = (24, 40)
_STEERED_PAIRS = 60
_PRETRAIN_STEPS, _STEPS = 6000, 200
"""Of the folds' trainings."""


def _folder(data: Path) -> Path:
    """The pairs that the shipped network never saw, where there are any, else those it did see."""
    for name in (_UNSEEN, _SEEN):
        if (data / name).is_dir():
            return data / name
    raise SettingError(f"{data} holds neither {_UNSEEN} nor {_SEEN}, folders of images and masks")


def _items(settings: Settings) -> list[Item]:
    folder = _folder(settings.data)
    paths = sorted(path for part in ("images", "masks") for path in (folder / part).glob("*"))
    pairs = digest(*(f"{path.name} {path.stat().st_size}" for path in paths))[:16]
    of = {"pairs": pairs, "saliency": network_fingerprint()}
    items = [Item("scores", of, functools.partial(_scores, folder))] if _is_unseen(folder) else []
    of = of | {"weights": learned_weights()["photo"]}
    for q in _QUALITIES:
        items.append(Item(f"q={q:g}", of, functools.partial(_steering, folder, q)))
    return items


def _is_unseen(folder: Path) -> bool:
    return folder.name == _UNSEEN


def _pairs(folder: Path) -> list[SaliencyPair]:
    return load_pairs(folder, every=_EVERY if _is_unseen(folder) else 1)


def _scores(folder: Path) -> dict[str, list[float]]:
    pairs = _pairs(folder)
    methods = {
        "network": network_saliency,
        "classical": classical_saliency,
        "centre prior": lambda image: centre_prior(*image.shape[:2]),
    }
    scores = {name: mean_scores(score_maps(pairs, method)) for name, method in methods.items()}
    return {f"{name} ({len(pairs)} pairs)": list(found) for name, found in scores.items()}


def _steering(folder: Path, quality: float) -> list[list[str]]:
    pairs = [pair for pair in _pairs(folder) if not pair.mask.all()]
    pairs = pairs[:: max(1, len(pairs) // _STEERED_PAIRS)][:_STEERED_PAIRS]
    return list(steering_rows(pairs, "network", [quality], _STRENGTHS))


def _tables(settings: Settings, figures: Figures) -> Mapping[str, str]:
    rows = [row for q in _QUALITIES for row in figures[f"q={q:g}"]]
    seen = "never saw" if "scores" in figures else "was trained on"
    folder = _folder(settings.data).name
    about = f"At most {_STEERED_PAIRS} pairs of `{folder}`, which the shipped network {seen}."
    tables = {"saliency-steering": f"{markdown_table(HEADER, rows)}\n\n{about}"}
    if "scores" in figures:
        scores = {name: SaliencyScores(*found) for name, found in figures["scores"].items()}
        tables["saliency-scores"] = scores_table(scores)
    return tables


def _fold_items(settings: Settings) -> list[Item]:
    paths = _fold_data(settings)
    for path in (*paths, settings.data / _BACKBONE):
        if not path.exists():
            raise SettingError(f"{path} is missing, which the folds are trained on")
    names = [f"{path}" for folder in paths for path in sorted(folder.rglob("*"))]
    of = {
        "data": digest(*(Path(name).name for name in names))[:16],
        "backbone": content_of(settings.data / _BACKBONE),
        "steps": f"{_PRETRAIN_STEPS} {_STEPS}",
    }
    return [Item("folds", of, functools.partial(_folds, settings))]


def _fold_data(settings: Settings) -> Sequence[Path]:
    return [settings.data / name for name in (_SEEN, _UNSEEN)]


def _folds(settings: Settings) -> str:
    schedule = SaliencySchedule(
        _PRETRAIN_STEPS, _STEPS, 600.0, settings.out / "saliency-folds" / "state", "cpu"
    )
    pairs, many = _fold_data(settings)
    data = load_data(pairs, many, backbone_weights(settings.data / _BACKBONE))
    return score_by_folds(data, schedule, 5, settings.out / "saliency-folds" / "maps")


SALIENCY = Part(
    "saliency",
    "the shipped network, and the bits that it steers",
    _items,
    _tables,
    guess_s=420,
    in_processes=True,
)
SALIENCY_FOLDS = Part(
    "saliency-folds",
    "five trainings on four fifths of the pairs each, scored on the rest",
    _fold_items,
    lambda settings, figures: {"saliency-folds": figures["folds"]},
    guess_s=3600,
    by_default=False,
)
