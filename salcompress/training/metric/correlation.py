"""Does a metric order pictures as people do? Rank correlation with opinion scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, spearmanr

from salcompress.errors import SettingError
from salcompress.image import read_image
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.metric.evaluation import METRICS, closeness
from salcompress.training.metric.judgements import Opinion


class Correlation(NamedTuple):
    """Rank correlation with opinions, in [-1, 1]. It is 1 where the metric orders as people do."""

    spearman: float
    kendall: float
    spearman_within: float | None
    """Mean of Spearman's correlation over the groups of the file; None without groups."""


def correlations(
    opinions: Sequence[Opinion], metric: PerceptualMetric, lower_is_better: bool
) -> dict[str, Correlation | None]:
    """Rank correlation of each metric with opinion scores.

    Args:
        opinions: Pictures with scores.
        metric: The learned metric.
        lower_is_better: Whether the scores are of degradation (DMOS) and not of quality.

    Returns:
        Correlation by metric; None for a metric that has no value for a picture, or one value for
        all.

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


def _usable(groups: np.ndarray, values: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Masks of the named groups in which there is an order to be found."""
    masks = [groups == name for name in np.unique(groups) if name]
    return [
        m for m in masks if m.sum() >= 3 and np.ptp(scores[m]) > 0 and len(np.unique(values[m])) > 1
    ]
