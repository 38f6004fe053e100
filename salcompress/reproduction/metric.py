"""How often the learned metric chooses as labels do, as ``salcompress metric-eval``."""

import functools
from collections.abc import Mapping
from pathlib import Path

from salcompress.metrics.perceptual import PerceptualMetric, shipped_fingerprint
from salcompress.reporting.tables import markdown_table
from salcompress.reproduction.part import Figures, Item, Part, Settings
from salcompress.reproduction.sources import (
    coco_val,
    content_of,
    kodak,
    learned_weights,
    metric_held_out,
)
from salcompress.training.metric.evaluation import choices_of_groups
from salcompress.training.metric.groups import consensus_groups
from salcompress.training.metric.ladders import ladder_order
from salcompress.training.metric.report import CROP, agreement_table, ladder_pictures

_NUM_COCO = 24


def _pictures(settings: Settings) -> list[Path]:
    data = settings.data
    return [*metric_held_out(data), *kodak(data), *coco_val(data, _NUM_COCO)]


def _items(settings: Settings) -> list[Item]:
    pictures = _pictures(settings)
    # the codec makes some of the versions that are compared
    of = {"metric": shipped_fingerprint(), "weights": learned_weights()["photo"]}
    agreement = functools.partial(_agreement, pictures, settings.out / "metric-groups")
    items = [Item("agreement", of | {"pictures": content_of(*pictures)}, agreement)]
    for path in ladder_pictures(pictures):
        work = functools.partial(_ladder, path)
        items.append(
            Item(f"ladder/{path.parent.name}/{path.name}", of | {"picture": content_of(path)}, work)
        )
    return items


def _agreement(pictures: list[Path], cache: Path) -> str:
    groups = consensus_groups(pictures, cache, crop=CROP)
    return agreement_table(choices_of_groups(groups, PerceptualMetric.load()))


def _ladder(path: Path) -> dict[str, tuple[int, int]]:
    return ladder_order([path], PerceptualMetric.load())


def _tables(settings: Settings, figures: Figures) -> Mapping[str, str]:
    ladders = [figure for name, figure in figures.items() if name.startswith("ladder/")]
    sums = {
        codec: [sum(column) for column in zip(*(found[codec] for found in ladders))]
        for codec in ladders[0]
    }
    sums["all"] = [sum(column) for column in zip(*sums.values())]
    cells = [f"{rising} / {steps}" for rising, steps in sums.values()]
    return {
        "metric-agreement": figures["agreement"],
        "metric-ladders": markdown_table(["codec", *sums], [["rising / steps", *cells]]),
    }


METRIC = Part(
    "metric",
    "agreement of the learned metric and others with labels",
    _items,
    _tables,
    guess_s=900,
    in_processes=True,
)
