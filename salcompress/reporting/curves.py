"""Rows as curves: what belongs to one line of a chart, what it is called, and how much rate one
curve saves against another.
"""

import contextlib
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

    Average precision scatters, so that a smooth curve is fitted to it. Where both curves were
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
    difference = fitted_bd_rate if name.endswith("_AP") else bd_rate
    curves = [resampled_curve(rows, name, resamples) for rows in points]
    found = difference(curves[0].bpp, curves[0].quality, curves[1].bpp, curves[1].quality)
    if all(len(curve.bpp_resamples) for curve in curves):
        # where too few resamples can be compared, there is no interval
        with contextlib.suppress(SettingError):
            found = resampled_bd_rate(curves[0], curves[1], difference)
    low, high = sorted(_figure_of(name, end) for end in (found.low, found.high))
    return found._replace(low=low, high=high)


def resampled_curve(
    rows: Sequence[RatePoint], name: str, resamples: Resamples = NO_RESAMPLES
) -> ResampledCurve:
    """Rates and qualities of rows that have a figure, on all images and on each resample of them.

    Where a row was not resampled, there are no resamples.
    """
    known = all(name in resamples.get(row.fingerprint, {}) for row in rows)

    def columns(figure: str) -> np.ndarray:
        if not known:
            return np.empty((0, len(rows)))
        return np.array([resamples[row.fingerprint][figure] for row in rows]).T

    return ResampledCurve(
        np.array([row.bpp for row in rows]),
        _quality(name, np.array([row.figure(name) for row in rows], float)),
        columns("bpp"),
        _quality(name, columns(name)),
    )


def _quality(name: str, values: np.ndarray) -> np.ndarray:
    """A figure as a quality that rises: of the perceptual distance, minus its logarithm."""
    return -np.log10(np.maximum(values, 1e-6)) if name == "perceptual" else values


def _figure_of(name: str, quality: float) -> float:
    """The figure that has this quality."""
    return 10**-quality if name == "perceptual" else quality
