"""Tables of rate and distortion: as measured, at equal rates, and as BD-rates."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from salcompress.errors import SettingError
from salcompress.evaluation.rate_distortion import RateDistortionPoint
from salcompress.metrics.bd_rate import BdRate, bd_rate
from salcompress.reporting.tables import markdown_table, number

Curves = Mapping[str, Sequence[RateDistortionPoint]]
"""Points of a codec by rising rate, under the codec's specification."""
_FIGURES = {"psnr": 2, "ms_ssim": 4, "perceptual": 4}
"""Digits of each figure."""
QUALITIES: Mapping[str, Callable[[RateDistortionPoint], float | None]] = {
    "psnr": lambda point: point.psnr,
    "ms_ssim": lambda point: point.ms_ssim,
    "perceptual": lambda p: -math.log10(p.perceptual) if p.perceptual > 0 else None,
}
"""What rises with the quality of a picture, by name; None where an exact copy has no value."""
_NAMES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "perceptual": "perceptual distance"}
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
        [spec[:80], *(difference_cell(curves[anchor], points) for anchor in anchors)]
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


def rate_difference(
    anchor: Sequence[RateDistortionPoint],
    test: Sequence[RateDistortionPoint],
    figure: str = "psnr",
    limit: float = math.inf,
) -> BdRate:
    """BD-rate of one curve against another.

    Args:
        anchor, test: The curves.
        figure: What is equal: a name of :data:`QUALITIES`. Points without it, such as the PSNR of
            exact copies, are left out.
        limit: Points of higher rates, in bits per pixel, are left out.

    Raises:
        SettingError: A curve has under four points, or they have no quality in common.
    """
    known = [
        [(p.bpp, quality) for p in points if p.bpp <= limit and (quality := of(p)) is not None]
        for of in [QUALITIES[figure]]
        for points in (anchor, test)
    ]
    (rates, qualities), (test_rates, test_qualities) = (
        ([rate for rate, _ in points], [q for _, q in points]) for points in known
    )
    return bd_rate(rates, qualities, test_rates, test_qualities)


def difference_cell(
    anchor: Sequence[RateDistortionPoint],
    test: Sequence[RateDistortionPoint],
    figure: str = "psnr",
    limit: float = math.inf,
) -> str:
    """:func:`rate_difference` in a cell of a table, or that there is none."""
    try:
        return f"{rate_difference(anchor, test, figure, limit).percent:+.1f} %"
    except SettingError:
        return f"none: under four points, or no {_NAMES[figure]} in common"
