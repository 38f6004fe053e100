"""What ``salcompress metric-eval`` prints."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.reporting.tables import markdown_table
from salcompress.training.metric.consensus import VOTES
from salcompress.training.metric.correlation import Correlation, correlations
from salcompress.training.metric.evaluation import (
    BEST_POSSIBLE,
    LEARNED,
    METRICS,
    Agreement,
    Choices,
    agreements,
    choices_of_groups,
    choices_of_triplets,
)
from salcompress.training.metric.groups import consensus_groups
from salcompress.training.metric.judgements import Opinion, read_bapps, read_opinions, read_triplets
from salcompress.training.metric.ladders import ladder_order

CROP = 192
"""Side of the triplets that are made here. MS-SSIM needs 161 pixels."""

_NEAR = "near threshold"
_LADDER_PICTURES = 8
"""At most so many pictures are coded at every step of every ladder, which takes a while."""


def print_report(
    *,
    images: Sequence[Path],
    triplets: Path | None,
    bapps: Path | None,
    scores: Path | None,
    lower_is_better: bool,
    weights: Path | None,
    cache: Path | None,
    workers: int,
) -> None:
    """Print how well the learned metric agrees with labels, beside PSNR, SSIM and MS-SSIM.

    There is a table for each kind of data that is given: agreement on triplets, order along the
    codecs' ladders, correlation with opinions.

    Args:
        images: Photographs, from which triplets are made, and which are coded along the ladders.
        triplets: CSV file of human judgements.
        bapps: Folder of human judgements in the layout of BAPPS.
        scores: CSV file of opinion scores.
        lower_is_better: Whether opinion scores are of degradation.
        weights: Weights file of the metric; None takes the shipped one.
        cache: Folder for the triplets that are made; None keeps none.
        workers: Number of processes that make them.

    Raises:
        SettingError: A file is missing, or a package that labels triplets.
        DataError: A file is damaged; the message names the line.
    """
    metric = PerceptualMetric.load(weights)
    judged = [*(read_triplets(triplets) if triplets else ()), *(read_bapps(bapps) if bapps else ())]
    opinions = read_opinions(scores) if scores else ()
    if judged:
        print(f"{len(judged)} judged triplets; brackets are 95 % intervals over their references")
        print(agreement_table(choices_of_triplets(judged, metric)))
    if images:
        _print_made_triplets(images, metric, cache, workers)
        _print_ladders(images, metric)
    if opinions:
        _print_opinions(opinions, metric, lower_is_better)


def _print_made_triplets(
    images: Sequence[Path], metric: PerceptualMetric, cache: Path | None, workers: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        groups = consensus_groups(images, cache or Path(folder), crop=CROP, workers=workers)
        print(
            f"triplets of {CROP}x{CROP} crops of {len(set(groups.sources))} pictures, labelled "
            f"by certain order or by the agreement of {', '.join(VOTES)}, not by people; brackets "
            "are 95 % intervals over pictures; near threshold, both versions are by encoders of "
            "JPEG at qualities of 60 to 95"
        )
        print(agreement_table(choices_of_groups(groups, metric)))


def ladder_pictures(images: Sequence[Path]) -> Sequence[Path]:
    """The few of some pictures that are coded along the ladders, spread over all."""
    return images[:: -(-len(images) // _LADDER_PICTURES)]


def _print_ladders(images: Sequence[Path], metric: PerceptualMetric) -> None:
    shown = ladder_pictures(images)
    order = ladder_order(shown, metric)
    rising, steps = (sum(counts) for counts in zip(*order.values()))
    order["all"] = rising, steps
    print(
        f"\nsteps down each codec's ladder at which the distance rises, {len(shown)} whole pictures"
    )
    rows = [
        [name, str(rising), str(steps), f"{rising / steps:.3f}"]
        for name, (rising, steps) in order.items()
    ]
    print(markdown_table(["codec", "rising", "steps", "share"], rows))


def _print_opinions(
    opinions: Sequence[Opinion], metric: PerceptualMetric, lower_is_better: bool
) -> None:
    print(
        f"\nrank correlation with {len(opinions)} opinion scores, "
        f"{'lower' if lower_is_better else 'higher'} is better"
    )
    found = correlations(opinions, metric, lower_is_better)
    rows = [[name, *_correlation_cells(of_metric)] for name, of_metric in found.items()]
    print(markdown_table(["metric", "Spearman", "Kendall", "Spearman within groups"], rows))


def _correlation_cells(found: Correlation | None) -> list[str]:
    if found is None:
        return ["not for this size"] * 3
    return [f"{value:.3f}" if value is not None else "no groups" for value in found]


def agreement_table(choices: Choices) -> str:
    """Agreement of all metrics, as Markdown.

    There is a column for all triplets, and one each for those near the threshold of visibility
    (both versions by JPEG encoders at qualities of 60 to 95), of certain and of judged order. The
    last columns are the intervals of the learned metric's lead over all and near the threshold.
    """
    everything = np.ones(len(choices.fraction), bool)
    parts: Mapping[str, np.ndarray] = {
        "all": everything,
        _NEAR: choices.near_threshold,
        "certain order": choices.certain,
        "labelled": ~choices.certain,
    }
    tables = {
        name: agreements(Choices(*(part[chosen] for part in choices)))
        for name, chosen in parts.items()
        if chosen.any() and (name == "all" or not chosen.all())
    }
    leads = {
        title: tables[name]
        for title, name in (("learned leads by", "all"), ("leads near threshold by", _NEAR))
        if name in tables
    }
    rows = [
        [
            name,
            *(_cell(table[name]) for table in tables.values()),
            *("" if name == LEARNED else _lead(table[name]) for table in leads.values()),
        ]
        for name in (*METRICS, BEST_POSSIBLE)
    ]
    titles = [f"{name} ({parts[name].sum()})" for name in tables]
    return markdown_table(["2AFC agreement", *titles, *leads], rows)


def _cell(found: Agreement | None) -> str:
    if found is None:
        return "not for this size"
    return f"{found.share:.3f} " + (
        "(too few pictures)"
        if found.interval is None
        else "[{:.3f}, {:.3f}]".format(*found.interval)
    )


def _lead(found: Agreement | None) -> str:
    return "" if found is None or found.lead is None else "[{:+.3f}, {:+.3f}]".format(*found.lead)
