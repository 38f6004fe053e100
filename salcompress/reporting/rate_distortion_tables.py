"""Tables of rate and distortion: as measured, at equal rates, and as BD-rates."""

from collections.abc import Mapping, Sequence

import numpy as np

from salcompress.errors import SettingError
from salcompress.evaluation.rate_distortion import RateDistortionPoint
from salcompress.metrics.bd_rate import bd_rate
from salcompress.reporting.tables import markdown_table, number

Curves = Mapping[str, Sequence[RateDistortionPoint]]
"""Points of a codec by rising rate, under the codec's specification."""
_FIGURES = {"psnr": 2, "ms_ssim": 4, "perceptual": 4}
"""Digits of each figure."""
_TITLES = ["PSNR dB", "MS-SSIM", "perceptual"]


def measured_table(curves: Curves) -> str:
    """Every setting with its rate and figures."""
    lines = [
        [point.label, f"{point.bpp:.4f}"]
        + [number(getattr(point, name), digits) for name, digits in _FIGURES.items()]
        for points in curves.values()
        for point in points
    ]
    return markdown_table(["setting", "bpp", *_TITLES], lines)


def table_at_rates(curves: Curves, rates: Sequence[float]) -> str:
    """Figures of each curve at some rates in bits per pixel, interpolated over the logarithm of the
    rate between measured settings.
    """
    lines = [
        [f"{bpp:g}", spec[:80], *_figures_at(points, bpp)]
        for bpp in rates
        for spec, points in curves.items()
    ]
    return markdown_table(["bpp", "codec", *_TITLES], lines)


def bd_rate_table(curves: Curves, anchors: Sequence[str]) -> str:
    """BD-rate of PSNR of each curve against some of them.

    Args:
        curves: The curves.
        anchors: Specifications of those that the others are compared with.
    """
    lines = [
        [spec[:80], *(_rate_difference(curves[anchor], points) for anchor in anchors)]
        for spec, points in curves.items()
    ]
    names = [f"against {anchor.partition(':')[0]}" for anchor in anchors]
    return markdown_table(["codec", *names], lines)


def _figures_at(points: Sequence[RateDistortionPoint], bpp: float) -> list[str]:
    rates = np.log([point.bpp for point in points])
    if not rates[0] <= np.log(bpp) <= rates[-1]:
        return [f"out of reach, {points[0].bpp:.3f} to {points[-1].bpp:.3f}", "", ""]
    cells = []
    for name, digits in _FIGURES.items():
        figures = [getattr(point, name) for point in points]
        known = [float("nan") if figure is None else figure for figure in figures]
        figure = float(np.interp(np.log(bpp), rates, known))
        cells.append(number(None if np.isnan(figure) else figure, digits))
    return cells


def _rate_difference(
    anchor: Sequence[RateDistortionPoint], test: Sequence[RateDistortionPoint]
) -> str:
    """BD-rate in a cell, or that there is none. Exact copies have no PSNR, and do not count."""
    (rates, psnr), (test_rates, test_psnr) = (
        (
            [p.bpp for p in points if p.psnr is not None],
            [p.psnr for p in points if p.psnr is not None],
        )
        for points in (anchor, test)
    )
    try:
        return f"{bd_rate(rates, psnr, test_rates, test_psnr).percent:+.1f} %"
    except SettingError:
        return "none: under four points, or no PSNR in common"
