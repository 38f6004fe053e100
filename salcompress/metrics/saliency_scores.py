"""How well a saliency map finds the salient objects: F-beta, mean absolute error, S-measure."""

from typing import NamedTuple

import numpy as np

from salcompress.errors import SettingError

BETA_SQUARED = 0.3
_TINY = np.finfo(np.float64).eps


class SaliencyScores(NamedTuple):
    """The three measures of one map, or their means over images."""

    f_beta: float
    """In [0, 1], higher is better."""
    mae: float
    """In [0, 1], lower is better."""
    s_measure: float
    """In [0, 1], higher is better."""


def score_saliency(saliency: np.ndarray, mask: np.ndarray) -> SaliencyScores:
    """All three measures of a map.

    Args:
        saliency: float (H, W) in [0, 1].
        mask: bool (H, W), the salient objects.

    Raises:
        SettingError: The shapes differ, or values or types are others.
    """
    return SaliencyScores(
        f_beta(saliency, mask), mean_absolute_error(saliency, mask), s_measure(saliency, mask)
    )


def mean_scores(scores: list[SaliencyScores]) -> SaliencyScores:
    """Mean of each measure over images.

    Raises:
        SettingError: There is no score.
    """
    if not scores:
        raise SettingError("there must be at least one image to take a mean over")
    return SaliencyScores(*(float(np.mean(values)) for values in zip(*scores)))


def f_beta(saliency: np.ndarray, mask: np.ndarray) -> float:
    """F-measure of the map cut at twice its mean, at most at 1.

    With precision P and recall R of the pixels marked it is ``(1 + b) P R / (b P + R)``, b = 0.3:
    Achanta et al., "Frequency-tuned salient region detection", CVPR 2009,
    https://doi.org/10.1109/CVPR.2009.5206596. A map that is 0 everywhere marks nothing.

    Args:
        saliency: float (H, W) in [0, 1].
        mask: bool (H, W), the salient objects.

    Returns:
        In [0, 1], higher is better.

    Raises:
        SettingError: The shapes differ, or values or types are others.

    >>> mask = np.array([[True, False, False, False]])
    >>> f_beta(mask.astype(float), mask), f_beta(np.zeros((1, 4)), mask)
    (1.0, 0.0)
    """
    saliency = _checked(saliency, mask)
    marked = (saliency >= min(1.0, 2 * saliency.mean())) & (saliency > 0)
    hits = np.count_nonzero(marked & mask)
    if hits == 0:
        return 0.0
    precision, recall = hits / np.count_nonzero(marked), hits / np.count_nonzero(mask)
    return float((1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall))


def mean_absolute_error(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Mean over pixels of ``|map - mask|``.

    Args:
        saliency: float (H, W) in [0, 1].
        mask: bool (H, W), the salient objects.

    Returns:
        In [0, 1], lower is better.

    Raises:
        SettingError: The shapes differ, or values or types are others.

    >>> mean_absolute_error(np.full((2, 2), 0.25), np.zeros((2, 2), bool))
    0.25
    """
    return float(np.abs(_checked(saliency, mask) - mask).mean())


def s_measure(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity of map and mask: ``0.5 S_object + 0.5 S_region``.

    S_object compares the map's mean and spread on the objects, and beside them; S_region compares
    map and mask as SSIM does, in the four parts around the mask's centroid: Fan et al.,
    "Structure-measure: a new way to evaluate foreground maps", ICCV 2017,
    https://arxiv.org/abs/1708.00786, as the authors' program computes it. A mask without an object
    scores 1 - mean of the map, and one that is all object the mean.

    Args:
        saliency: float (H, W) in [0, 1].
        mask: bool (H, W), the salient objects.

    Returns:
        In [0, 1], higher is better; what would be below 0 counts as 0.

    Raises:
        SettingError: The shapes differ, or values or types are others.

    >>> mask = np.arange(12).reshape(3, 4) % 4 < 2
    >>> round(s_measure(mask.astype(float), mask), 6)
    1.0
    """
    saliency = _checked(saliency, mask)
    share = mask.mean()
    if share == 0:
        return float(1 - saliency.mean())
    if share == 1:
        return float(saliency.mean())
    by_object = share * _object_score(saliency[mask]) + (1 - share) * _object_score(
        1 - saliency[~mask]
    )
    return float(max(0.0, 0.5 * by_object + 0.5 * _region_score(saliency, mask)))


def _object_score(values: np.ndarray) -> float:
    mean = values.mean()
    deviation = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + _TINY)


def _region_score(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity in the four parts around the mask's centroid, weighted by area."""
    rows, columns = np.nonzero(mask)
    row, column = round(rows.mean()) + 1, round(columns.mean()) + 1
    total = 0.0
    for part in (
        np.s_[:row, :column],
        np.s_[:row, column:],
        np.s_[row:, :column],
        np.s_[row:, column:],
    ):
        if mask[part].size:
            total += (
                mask[part].size
                / mask.size
                * _similarity(saliency[part], mask[part].astype(np.float64))
            )
    return total


def _similarity(x: np.ndarray, y: np.ndarray) -> float:
    mean_x, mean_y = x.mean(), y.mean()
    freedom = max(1, x.size - 1)
    variance_x, variance_y = (
        ((x - mean_x) ** 2).sum() / freedom,
        ((y - mean_y) ** 2).sum() / freedom,
    )
    covariance = ((x - mean_x) * (y - mean_y)).sum() / freedom
    numerator = 4 * mean_x * mean_y * covariance
    denominator = (mean_x**2 + mean_y**2) * (variance_x + variance_y)
    if numerator != 0:
        return numerator / (denominator + _TINY)
    return 1.0 if denominator == 0 else 0.0


def _checked(saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The map in double precision."""
    if mask.dtype != bool or mask.ndim != 2 or mask.size == 0:
        raise SettingError(
            f"mask must be bool (H, W) of at least one pixel, got {mask.dtype} {mask.shape}"
        )
    if saliency.shape != mask.shape:
        raise SettingError(
            f"map and mask must have one shape, got {saliency.shape} and {mask.shape}"
        )
    if not np.issubdtype(saliency.dtype, np.floating) or not np.all(
        (saliency >= 0) & (saliency <= 1)
    ):
        raise SettingError("saliency must be of float in [0, 1], without NaN")
    return saliency.astype(np.float64)
