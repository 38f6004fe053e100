"""Rows as curves: what belongs to one line of a chart, what it is called, and how much rate one
curve saves against another.
"""

import contextlib
import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.metrics.bd_rate import (
    BdRate,
    ResampledCurve,
    bd_rate,
    fitted_bd_rate,
    resampled_bd_rate,
)

NO_RESAMPLES: Resamples = MappingProxyType({})


class Figure(NamedTuple):
    """A figure of the report."""

    name: str
    """As in :meth:`RatePoint.figure`."""
    title: str
    digits: int
    """Decimals in charts."""


class Rate(NamedTuple):
    """A rate that charts may have as their axis."""

    name: str
    """Of the row's field."""
    choice: str
    """What it is over, for the reader who chooses."""
    title: str
    """Of the axis."""


RATES = (
    Rate("bpp", "pixels of the original images", "bits per pixel, pooled"),
    Rate(
        "bpp_detector",
        "pixels that the detector saw after its own resize",
        "bits per pixel that the detector saw, pooled",
    ),
)


def measured_rates(rows: Sequence[RatePoint]) -> list[Rate]:
    """The rates that every row has, so that all curves can be drawn over them; bpp comes first."""
    return [r for r in RATES if all(getattr(row, r.name) is not None for row in rows)]


FIGURES = (
    Figure("box_AP", "Box AP", 1),
    Figure("mask_AP", "Mask AP", 1),
    Figure("psnr", "PSNR (dB)", 2),
    Figure("ms_ssim", "MS-SSIM", 4),
    Figure("perceptual", "Perceptual distance ↓", 3),
)


def measured_figures(rows: Sequence[RatePoint]) -> list[Figure]:
    """The figures that some row has."""
    return [f for f in FIGURES if any(row.figure(f.name) is not None for row in rows)]


def curves_of(rows: Sequence[RatePoint]) -> dict[str, list[RatePoint]]:
    """Rows that differ in rate alone, by the name of their curve: the codec, and what tells it from
    its other curves.

    A codec's first option is the one that sets its rate.
    """
    curves: dict[str, list[RatePoint]] = {}
    for row in rows:
        if row.codec != "none":
            of_codec = {tuple(r.setting.split(",")[1:]) for r in rows if r.codec == row.codec}
            shared = set.intersection(*map(set, of_codec))
            own = [option for option in row.setting.split(",")[1:] if option not in shared]
            name = " ".join([row.codec, *([",".join(own)] if own else [])])
            curves.setdefault(name, []).append(row)
    return curves


def varying_options(row: RatePoint, rows: Sequence[RatePoint]) -> str:
    """The options of a row that tell it from the other rows of its codec: ``q=30``."""
    common = common_options(row, rows)
    return ",".join(option for option in row.setting.split(",") if option not in common)


def common_options(row: RatePoint, rows: Sequence[RatePoint]) -> list[str]:
    """Options with one value in all rows of a codec, but for its first, which names the rate."""
    settings = [r.setting.split(",") for r in rows if r.codec == row.codec]
    return [option for option in settings[0][1:] if all(option in setting for setting in settings)]


def rate_difference(
    anchor: Sequence[RatePoint],
    test: Sequence[RatePoint],
    name: str,
    resamples: Resamples = NO_RESAMPLES,
) -> BdRate:
    """BD-rate of one curve against another at an equal figure.

    Average precision scatters, so that a smooth curve is fitted to it; where both curves were
    resampled on the same images, the difference has an interval. The perceptual distance counts as
    minus its logarithm.

    Args:
        anchor, test: Rows of a curve each.
        name: Of the figure, as in :meth:`RatePoint.figure`.
        resamples: What is known of the rows on resampled images.

    Returns:
        The difference; its ``low`` and ``high`` are values of the figure.

    Raises:
        SettingError: The curves have too few points, or no common quality.
    """
    points = [[r for r in rows if r.figure(name) is not None] for rows in (anchor, test)]
    rates = [[r.bpp for r in rows] for rows in points]
    values = [[_quality(name, r.figure(name) or 0.0) for r in rows] for rows in points]
    if not name.endswith("_AP"):
        found = bd_rate(rates[0], values[0], rates[1], values[1])
        low, high = sorted(_figure_of(name, end) for end in (found.low, found.high))
        return found._replace(low=low, high=high)
    found = fitted_bd_rate(rates[0], values[0], rates[1], values[1])
    if any(name not in resamples.get(r.fingerprint, {}) for rows in points for r in rows):
        return found
    # where too few resamples can be compared, there is no interval
    with contextlib.suppress(SettingError):
        return resampled_bd_rate(*(_resampled(rows, name, resamples) for rows in points))
    return found


def _resampled(rows: Sequence[RatePoint], name: str, resamples: Resamples) -> ResampledCurve:
    def columns(figure: str) -> np.ndarray:
        return np.array([resamples[row.fingerprint][figure] for row in rows]).T

    return ResampledCurve(
        np.array([row.bpp for row in rows]),
        np.array([row.figure(name) for row in rows]),
        columns("bpp"),
        columns(name),
    )


def _quality(name: str, value: float) -> float:
    """A figure as a quality that rises: of the perceptual distance, minus its logarithm."""
    return -math.log10(max(value, 1e-6)) if name == "perceptual" else value


def _figure_of(name: str, quality: float) -> float:
    """The figure that has this quality."""
    return 10**-quality if name == "perceptual" else quality
