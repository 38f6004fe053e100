"""Does a metric choose as the labels do? Agreement on triplets, order along quality ladders, rank
correlation with opinions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, spearmanr

from salcompress.errors import SettingError
from salcompress.image import read_image
from salcompress.metrics.perceptual import PerceptualMetric, perceptual_distances
from salcompress.metrics.psnr_ssim import ms_ssim, psnr, ssim
from salcompress.reporting.tables import markdown_table
from salcompress.training.metric.distortions import LADDERS, compress
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Opinion, Triplet
from salcompress.training.metric.train import closer_of

LEARNED = "learned"
METRICS = ("PSNR", "SSIM", "MS-SSIM", LEARNED)
_NUM_RESAMPLES = 2000
_LEAST_PICTURES = 5  # of which an interval over pictures says anything


class Choices(NamedTuple):
    """How near each metric finds the two versions of T triplets; higher is closer, NaN where it
    cannot say.
    """

    a: np.ndarray
    """(T, 4), in the order of METRICS."""
    b: np.ndarray
    """(T, 4)."""
    fraction: np.ndarray
    """Label: share in [0, 1] to whom a is closer, (T,)."""
    certain: np.ndarray
    """Bool (T,): the order is certain by how the versions were made."""
    source: np.ndarray
    """Which picture, (T,): intervals are over pictures."""


class Agreement(NamedTuple):
    """Share of judgements that a metric shares, with 95 % bootstrap intervals over pictures."""

    share: float
    interval: tuple[float, float] | None
    """None where there are fewer than five pictures."""
    lead: tuple[float, float] | None
    """Interval of the learned metric's share less this one's, on the same pictures."""


class Correlation(NamedTuple):
    """Rank correlation with opinions: 1 where the metric orders as people do."""

    spearman: float
    kendall: float
    spearman_within: float | None
    """Mean over the groups of the file; None without groups."""


def closeness(
    reference: np.ndarray, images: Sequence[np.ndarray], metric: PerceptualMetric
) -> list[list[float]]:
    """How near images are to their reference by each of METRICS: higher is closer, NaN where a
    picture is too small.
    """
    values = []
    for image, distance in zip(images, perceptual_distances(reference, images, metric)):
        found = psnr(reference, image), ssim(reference, image), ms_ssim(reference, image)
        known = [np.nan if value is None else value for value in found]
        values.append(
            [np.inf if found[0] is None else found[0], *known[1:], -distance]
        )  # identical: PSNR is infinite
    return values


def choices_of_groups(groups: Groups, metric: PerceptualMetric) -> Choices:
    """All triplets of groups, labelled as in training."""
    values = np.array(
        [
            closeness(np.array(reference), np.array(versions), metric)
            for reference, versions in zip(groups.references, groups.versions)
        ]
    )
    first, second = np.triu_indices(values.shape[1], 1)
    closer = closer_of(groups.scores, groups.certain)[:, first, second]
    certain = (groups.certain | groups.certain.transpose(0, 2, 1))[:, first, second]
    return Choices(
        values[:, first].reshape(-1, len(METRICS)),
        values[:, second].reshape(-1, len(METRICS)),
        closer.ravel(),
        certain.ravel(),
        groups.sources.repeat(len(first)),
    )


def choices_of_triplets(triplets: Sequence[Triplet], metric: PerceptualMetric) -> Choices:
    """Triplets with the judgements that came with them."""
    values = np.array(
        [
            closeness(read_image(t.reference), [read_image(t.a), read_image(t.b)], metric)
            for t in triplets
        ]
    )
    names = {path: k for k, path in enumerate(sorted({t.reference for t in triplets}))}
    return Choices(
        values[:, 0],
        values[:, 1],
        np.array([t.fraction for t in triplets]),
        np.zeros(len(triplets), bool),
        np.array([names[t.reference] for t in triplets]),
    )


def agreements(choices: Choices, seed: int = 0) -> dict[str, Agreement | None]:
    """Two-alternative forced choice, by metric, and "best possible", which goes with the majority
    of every label: a metric that chooses a gains the share that finds a closer, one that chooses b
    the rest; of a tie, half."""
    better = np.where(choices.a == choices.b, 0.5, np.where(choices.a > choices.b, 1.0, 0.0))
    better[np.isnan(choices.a) | np.isnan(choices.b)] = np.nan
    label = choices.fraction[:, None]
    gains = np.concatenate(
        [better * label + (1 - better) * (1 - label), np.maximum(label, 1 - label)], 1
    )
    pictures = np.unique(choices.source)
    sums = np.stack([gains[choices.source == k].sum(0) for k in pictures])
    counts = np.array([(choices.source == k).sum() for k in pictures])
    copies = np.random.default_rng(seed).multinomial(
        len(pictures), np.full(len(pictures), 1 / len(pictures)), _NUM_RESAMPLES
    )
    resampled = copies @ sums / (copies @ counts)[:, None]
    if len(pictures) < _LEAST_PICTURES:
        resampled = resampled[:0]
    found: dict[str, Agreement | None] = {}
    for k, name in enumerate((*METRICS, "best possible")):
        lead = resampled[:, METRICS.index(LEARNED)] - resampled[:, k]
        found[name] = (
            None
            if np.isnan(sums[:, k]).any()
            else Agreement(gains[:, k].mean(), _interval(resampled[:, k]), _interval(lead))
        )
    return found


def ladder_order(
    paths: Sequence[Path], metric: PerceptualMetric, families: Sequence[str] = tuple(LADDERS)
) -> dict[str, tuple[int, int]]:
    """Along each codec's settings, whole pictures: steps at which the distance rises, and all
    steps.
    """
    found = {}
    for family in families:
        rising = total = 0
        for path in paths:
            image = read_image(path)
            distances = perceptual_distances(
                image,
                [compress(image, family, step).image for step in range(len(LADDERS[family]))],
                metric,
            )
            rising += int((np.diff(distances) > 0).sum())
            total += len(distances) - 1
        found[family] = rising, total
    return found


def correlations(
    opinions: Sequence[Opinion], metric: PerceptualMetric, lower_is_better: bool
) -> dict[str, Correlation | None]:
    """Rank correlation of each metric with opinion scores; None for a metric that has no value for
    a picture.

    Args:
        lower_is_better: The scores are of degradation (DMOS), not of quality.

    Raises:
        SettingError: There are fewer than three scores, or all are equal.
    """
    scores = np.array([opinion.score for opinion in opinions]) * (-1 if lower_is_better else 1)
    if len(scores) < 3 or np.ptp(scores) == 0:
        raise SettingError("rank correlation needs at least three scores that are not all equal")
    values = np.array(
        [closeness(read_image(o.reference), [read_image(o.image)], metric)[0] for o in opinions]
    )
    groups = np.array([opinion.group for opinion in opinions])
    found: dict[str, Correlation | None] = {}
    for k, name in enumerate(METRICS):
        if np.isnan(values[:, k]).any() or len(np.unique(values[:, k])) == 1:
            found[name] = None
            continue
        inside = [
            spearmanr(values[chosen, k], scores[chosen]).statistic
            for chosen in _usable(groups, values[:, k], scores)
        ]
        found[name] = Correlation(
            float(spearmanr(values[:, k], scores).statistic),
            float(kendalltau(values[:, k], scores).statistic),
            float(np.mean(inside)) if inside else None,
        )
    return found


def agreement_table(choices: Choices) -> str:
    """Agreement of all metrics on all triplets, and apart on those of certain and those of judged
    order.
    """
    everything = np.ones(len(choices.fraction), bool)
    parts: Mapping[str, np.ndarray] = {
        "all": everything,
        "certain order": choices.certain,
        "labelled": ~choices.certain,
    }
    tables = {
        f"{name} ({chosen.sum()})": agreements(Choices(*(part[chosen] for part in choices)))
        for name, chosen in parts.items()
        if chosen.any() and (name == "all" or not chosen.all())
    }
    rows = [
        [
            name,
            *(_cell(table[name]) for table in tables.values()),
            _lead(next(iter(tables.values()))[name]),
        ]
        for name in (*METRICS, "best possible")
    ]
    return markdown_table(["2AFC agreement", *tables, "learned leads by"], rows)


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


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    if len(values) == 0:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _usable(groups: np.ndarray, values: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Groups, named ones, in which there is an order to be found."""
    masks = [groups == name for name in np.unique(groups) if name]
    return [
        m for m in masks if m.sum() >= 3 and np.ptp(scores[m]) > 0 and len(np.unique(values[m])) > 1
    ]
