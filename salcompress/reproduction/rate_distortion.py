"""Rate and distortion of every codec on pictures that no training saw."""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from salcompress.codecs import SalientCodec, load_codecs
from salcompress.evaluation.rate_distortion import (
    CURVES,
    ImageFigures,
    RateDistortionPoint,
    measure_image,
    point_of,
)
from salcompress.files import digest
from salcompress.image import read_image
from salcompress.metrics.perceptual import shipped_fingerprint
from salcompress.reporting.rate_distortion_tables import (
    difference_cell,
    measured_table,
    table_at_rates,
)
from salcompress.reporting.tables import markdown_table, number
from salcompress.reproduction.part import Figures, Item, Part, Settings
from salcompress.reproduction.sources import (
    content_of,
    held_out,
    kodak,
    learned_weights,
    with_weights,
)

_STEERED = "salient:q=0,0.2,0.4,0.6,0.8"
_ANCHORS = {"jpeg": "JPEG (4:2:0)", "webp": "WebP", "avif": "AVIF"}
_RATES = (0.15, 0.3, 0.6)
_SHOWN_SETTINGS = 4
_SHOWN_QUALITIES = (0, 0.2, 0.4, 0.6, 0.8, 1)

Curve = Sequence[RateDistortionPoint]


class _Source(NamedTuple):
    """What codes a curve."""

    spec: str
    weights: str | None
    """Name and fingerprint of the weights; None where nothing is learned."""


def _sources() -> dict[str, _Source]:
    """Every curve that is measured, by its name."""
    found = {name: _Source(spec, None) for name, spec in CURVES.items() if name != "salient"}
    for name, weights in learned_weights().items():
        found[f"salient {name}"] = _Source(with_weights(CURVES["salient"], name), weights)
        found[f"salient {name}, saliency"] = _Source(with_weights(_STEERED, name), weights)
    return found


def _pictures(settings: Settings) -> dict[str, list[Path]]:
    return {"kodak": kodak(settings.data), "held": held_out(settings.data)}


def _items(settings: Settings) -> list[Item]:
    items = []
    sources, metric = _sources(), shipped_fingerprint()
    codecs = {
        name: digest(*(codec.fingerprint for codec in load_codecs(source.spec)))[:16]
        for name, source in sources.items()
    }
    for group, paths in _pictures(settings).items():
        for path in paths:
            picture = content_of(path)
            for name, source in sources.items():
                of = {"picture": picture, "codecs": codecs[name], "metric": metric}
                if source.weights is not None:
                    of["weights"] = source.weights
                work = functools.partial(_measure, path, source.spec)
                items.append(Item(f"{group}/{path.name}/{name}", of, work))
    return items


def _measure(path: Path, spec: str) -> list[dict[str, Any]]:
    codecs = load_codecs(spec)
    figures = measure_image(codecs, read_image(path))
    return [{"label": c.label, **f._asdict()} for c, f in zip(codecs, figures)]


def _tables(settings: Settings, figures: Figures) -> Mapping[str, str]:
    groups = _pictures(settings)
    curves = {name: _curves(figures, [name]) for name, paths in groups.items() if paths}
    everything = _curves(figures, list(groups))
    tables = {
        "all-codecs": _comparison(curves),
        "all-codecs-settings": measured_table(
            {name: _some(points) for name, points in curves["kodak"].items()}
        ),
        "all-codecs-at-rates": table_at_rates(everything, _RATES),
    }
    for name in learned_weights():
        tables[f"codec-{name}"] = _qualities(curves, f"salient {name}")
        tables[f"codec-{name}-differences"] = _differences(curves, f"salient {name}")
    return tables


def _curves(figures: Figures, groups: Sequence[str]) -> dict[str, Curve]:
    """Curves over the pictures of some groups, by name."""
    found: dict[str, Curve] = {}
    for name in _sources():
        images = [
            settings
            for item, settings in figures.items()
            if item.split("/")[0] in groups and item.split("/")[2] == name
        ]
        found[name] = sorted(
            (
                point_of(
                    of_setting[0]["label"],
                    [ImageFigures(*(f[key] for key in ImageFigures._fields)) for f in of_setting],
                )
                for of_setting in zip(*images, strict=True)
            ),
            key=lambda point: point.bpp,
        )
    return found


def _some(points: Curve) -> Curve:
    """A few of the points, spread over all, the first and the last among them."""
    last, shown = len(points) - 1, min(_SHOWN_SETTINGS, len(points))
    return [points[round(k * last / max(1, shown - 1))] for k in range(shown)]


def _comparison(groups: Mapping[str, Mapping[str, Curve]]) -> str:
    """BD-rates of PSNR of all codecs against JPEG and AVIF."""
    lines = [
        [name]
        + [
            difference_cell(curves[anchor], curves[name])
            for curves in groups.values()
            for anchor in ("jpeg", "avif")
        ]
        for name in next(iter(groups.values()))
    ]
    heads = [f"{group}: against {name}" for group in groups for name in ("jpeg", "avif")]
    return markdown_table(["codec", *heads], lines)


def _qualities(groups: Mapping[str, Mapping[str, Curve]], name: str) -> str:
    """A learned codec's curve: some of its qualities."""
    by_label = {group: {p.label: p for p in curves[name]} for group, curves in groups.items()}
    labels = [
        codec.label
        for codec in load_codecs(_sources()[name].spec)
        if isinstance(codec, SalientCodec) and codec.quality in _SHOWN_QUALITIES
    ]
    lines = [
        [f"{quality:g}"]
        + [
            cell
            for points in by_label.values()
            for cell in (
                f"{points[label].bpp:.4f}",
                number(points[label].psnr, 2),
                number(points[label].ms_ssim, 4),
                f"{points[label].perceptual:.4f}",
            )
        ]
        for quality, label in zip(_SHOWN_QUALITIES, labels, strict=True)
    ]
    heads = [f"{group}: bpp" if k == 0 else figure for group in groups for k, figure in _COLUMNS]
    return markdown_table(["q", *heads], lines)


_COLUMNS = tuple(enumerate(("bpp", "PSNR", "MS-SSIM", "perceptual")))


def _differences(groups: Mapping[str, Mapping[str, Curve]], name: str) -> str:
    """BD-rates of a learned codec against those that everyone has."""
    kinds = {
        "PSNR": ("psnr", math.inf),
        "PSNR up to 0.5 bpp": ("psnr", 0.5),
        "MS-SSIM": ("ms_ssim", math.inf),
        "perceptual distance": ("perceptual", math.inf),
    }
    lines = [
        [title]
        + [
            difference_cell(curves[anchor], curves[name], figure, limit)
            for curves in groups.values()
            for figure, limit in kinds.values()
        ]
        for anchor, title in _ANCHORS.items()
    ]
    heads = [f"{group}: {kind}" for group in groups for kind in kinds]
    return markdown_table(["BD-rate against", *heads], lines)


RATE_DISTORTION = Part(
    "rate-distortion",
    "all codecs on Kodak and held-out pictures",
    _items,
    _tables,
    guess_s=900,
    in_processes=True,
)
