"""Does a metric choose as the labels do? Agreement on triplets by two-alternative forced choice."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from salcompress.image import read_image
from salcompress.metrics.perceptual import PerceptualMetric, perceptual_distances
from salcompress.metrics.psnr_ssim import ms_ssim, psnr, ssim
from salcompress.training.metric.batches import closer_of
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Triplet

LEARNED = "learned"
METRICS = ("PSNR", "SSIM", "MS-SSIM", LEARNED)
"""The metrics that are compared."""
BEST_POSSIBLE = "best possible"
"""The choice that goes with the majority of each label."""
_NUM_RESAMPLES = 2000
_LEAST_PICTURES = 5
"""An interval over fewer pictures says nothing."""


class Choices(NamedTuple):
    """What metrics and labels say of T triplets."""

    a: np.ndarray
    """How near each metric finds version a, (T, 4) in the order of :data:`METRICS`. Higher is
    closer. It is NaN where a picture is too small for the metric.
    """
    b: np.ndarray
    """The same of version b, (T, 4)."""
    fraction: np.ndarray
    """The label: the share in [0, 1] to whom a is closer, (T,)."""
    certain: np.ndarray
    """Bool (T,), true where the order is certain by how the versions were made."""
    near_threshold: np.ndarray
    """Bool (T,), true where JPEG encoders made both versions at qualities of 60 to 95."""
    source: np.ndarray
    """Number of the picture that a triplet is of, (T,). Intervals are over pictures."""


class Agreement(NamedTuple):
    """The share of the judgements that a metric agrees with."""

    share: float
    interval: tuple[float, float] | None
    """A 95 % bootstrap interval over pictures; None where there are fewer than five."""
    lead: tuple[float, float] | None
    """Such an interval of the learned metric's share less this one's, on the same pictures."""


def closeness(
    reference: np.ndarray, images: Sequence[np.ndarray], metric: PerceptualMetric
) -> list[list[float]]:
    """Say how near images are to their reference by each metric.

    Args:
        reference: uint8 (H, W, 3).
        images: uint8 (H, W, 3) each.
        metric: The learned metric.

    Returns:
        For each image four values in the order of :data:`METRICS`. Higher is closer. The PSNR of
        an equal image is infinite. A value is NaN where the picture is too small for the metric.
    """
    values = []
    for image, distance in zip(images, perceptual_distances(reference, images, metric)):
        decibels = psnr(reference, image)
        structure = ssim(reference, image), ms_ssim(reference, image)
        values.append(
            [
                np.inf if decibels is None else decibels,
                *(np.nan if value is None else value for value in structure),
                -distance,
            ]
        )
    return values


def choices_of_groups(groups: Groups, metric: PerceptualMetric) -> Choices:
    """Let the metrics choose in all triplets of groups, which are labelled as in training."""
    values = np.array(
        [
            closeness(np.array(reference), list(np.array(versions)), metric)
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
        (groups.near_threshold[:, first] & groups.near_threshold[:, second]).ravel(),
        groups.sources.repeat(len(first)),
    )


def choices_of_triplets(triplets: Sequence[Triplet], metric: PerceptualMetric) -> Choices:
    """Let the metrics choose in triplets that came with judgements."""
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
        np.zeros(len(triplets), bool),
        np.array([names[t.reference] for t in triplets]),
    )


def agreements(choices: Choices, seed: int = 0) -> dict[str, Agreement | None]:
    """Two-alternative forced choice: how often does each metric choose as the judges do?

    A metric that chooses version a gains the share of judges who find a closer, and one that
    chooses b gains the rest. A tie gains half.

    Args:
        choices: What metrics and labels say.
        seed: Seed of the bootstrap.

    Returns:
        Agreement by metric; None for a metric that has no value for a picture. "best possible" goes
        with the majority of each label.
    """
    gains = _gains(choices)
    pictures = np.unique(choices.source)
    sums = np.stack([gains[choices.source == k].sum(0) for k in pictures])
    counts = np.array([(choices.source == k).sum() for k in pictures])
    copies = np.random.default_rng(seed).multinomial(
        len(pictures), np.full(len(pictures), 1 / len(pictures)), _NUM_RESAMPLES
    )
    resampled = copies @ sums / (copies @ counts)[:, None]
    if len(pictures) < _LEAST_PICTURES:
        resampled = resampled[:0]
    learned = METRICS.index(LEARNED)
    found: dict[str, Agreement | None] = {}
    for k, name in enumerate((*METRICS, BEST_POSSIBLE)):
        lead = resampled[:, learned] - resampled[:, k]
        found[name] = (
            None
            if np.isnan(sums[:, k]).any()
            else Agreement(gains[:, k].mean(), _interval(resampled[:, k]), _interval(lead))
        )
    return found


def _gains(choices: Choices) -> np.ndarray:
    """What each metric, and the best possible choice, gains by each triplet, (T, 5)."""
    better = np.where(choices.a == choices.b, 0.5, np.where(choices.a > choices.b, 1.0, 0.0))
    better[np.isnan(choices.a) | np.isnan(choices.b)] = np.nan
    label = choices.fraction[:, None]
    return np.concatenate(
        [better * label + (1 - better) * (1 - label), np.maximum(label, 1 - label)], 1
    )


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of resampled values; None if there are none."""
    if len(values) == 0:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
