"""What ``salcompress metric-eval`` prints."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.reporting.tables import markdown_table
from salcompress.training.metric.consensus import VOTES
from salcompress.training.metric.evaluation import (
    agreement_table,
    choices_of_groups,
    choices_of_triplets,
    correlations,
    ladder_order,
)
from salcompress.training.metric.groups import consensus_groups
from salcompress.training.metric.judgements import read_bapps, read_opinions, read_triplets

_CROP = 192
"""Side of the triplets made here: MS-SSIM needs 161 pixels."""

_LADDER_PICTURES = 8
"""Most pictures that are coded at every step of every ladder: it takes a while."""


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
    """Agreement on triplets, order along ladders, correlation with opinions: of each what there is
    data for.

    Raises:
        SettingError: A file is missing, or a package that labels triplets.
        DataError: A file is damaged; names the line.
    """
    metric = PerceptualMetric.load(weights)
    judged = [*(read_triplets(triplets) if triplets else ()), *(read_bapps(bapps) if bapps else ())]
    opinions = read_opinions(scores) if scores else ()
    if judged:
        print(f"{len(judged)} judged triplets; brackets are 95 % intervals over their references")
        print(agreement_table(choices_of_triplets(judged, metric)))
    if images:
        with tempfile.TemporaryDirectory() as folder:
            groups = consensus_groups(images, cache or Path(folder), crop=_CROP, workers=workers)
            print(
                f"triplets of {_CROP}x{_CROP} crops of {len(set(groups.sources))} pictures, "
                "labelled by certain order or by the agreement of "
                f"{', '.join(VOTES)}, not by people; brackets are 95 % intervals over pictures"
            )
            print(agreement_table(choices_of_groups(groups, metric)))
        shown = images[:: -(-len(images) // _LADDER_PICTURES)]
        order = ladder_order(shown, metric)
        order["all"] = tuple(map(sum, zip(*order.values())))
        print(
            f"\nsteps down each codec's ladder at which the distance rises, {len(shown)} whole "
            "pictures"
        )
        print(
            markdown_table(
                ["codec", "rising", "steps", "share"],
                [
                    [name, str(rising), str(steps), f"{rising / steps:.3f}"]
                    for name, (rising, steps) in order.items()
                ],
            )
        )
    if opinions:
        print(
            f"\nrank correlation with {len(opinions)} opinion scores, "
            f"{'lower' if lower_is_better else 'higher'} is better"
        )
        found = correlations(opinions, metric, lower_is_better)
        print(
            markdown_table(
                ["metric", "Spearman", "Kendall", "Spearman within groups"],
                [
                    [
                        name,
                        *(
                            ["not for this size"] * 3
                            if c is None
                            else [f"{v:.3f}" if v is not None else "no groups" for v in c]
                        ),
                    ]
                    for name, c in found.items()
                ],
            )
        )
