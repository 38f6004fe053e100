"""How many bits one curve needs for the quality that another has at one of its points.

A BD-rate averages over many qualities. This is the difference at one of them, which can be said in
a sentence.
"""

from typing import NamedTuple

import numpy as np

from salcompress.errors import SettingError
from salcompress.metrics.bd_rate import MIN_POINTS, ResampledCurve
from salcompress.metrics.rising_curve import rising_fit


class EqualQuality(NamedTuple):
    """Two rates of one quality."""

    anchor_bpp: float
    """Rate of the anchor's point."""
    quality: float
    """Of the anchor's fitted curve there."""
    bpp: float
    """Rate at which the other curve has it."""
    percent: float
    """``bpp`` against ``anchor_bpp``: -30 means 30 % fewer bits."""
    interval: tuple[float, float] | None
    """The 95 % interval of ``percent`` over resampled images; None without resamples."""


def rate_at_equal_quality(anchor: ResampledCurve, test: ResampledCurve, point: int) -> EqualQuality:
    """Rate that ``test`` needs for the quality of ``anchor`` at one of its points.

    Both curves are fitted, as by :func:`salcompress.metrics.bd_rate.fitted_bd_rate`, since average
    precision scatters. On a resample where ``test`` is better at its lowest rate already, that rate
    counts; where it is worse at its highest, it needs more bits than any interval could hold.

    Args:
        anchor, test: The curves; none of the resamples (0, P) where there are none.
        point: Position of the anchor's point.

    Raises:
        SettingError: (a ValueError) A curve has fewer than four different rates, ``test`` does not
            have the quality, or its interval has no end.

    >>> rates, ap = np.array([0.1, 0.2, 0.4, 0.8]), np.array([20.0, 25.0, 28.0, 30.0])
    >>> curve = ResampledCurve(rates, ap, np.tile(rates, (3, 1)), np.tile(ap, (3, 1)))
    >>> half = curve._replace(bpp=rates / 2, bpp_resamples=curve.bpp_resamples / 2)
    >>> found = rate_at_equal_quality(curve, half, 2)
    >>> round(found.anchor_bpp, 3), round(found.bpp, 3), round(found.percent)
    (0.4, 0.2, -50)
    """
    for name, curve in (("anchor", anchor), ("test", test)):
        count = len(np.unique(curve.bpp))
        if count < MIN_POINTS:
            raise SettingError(
                f"the {name} curve has {count} different rates, and a fit needs {MIN_POINTS}; "
                "add settings"
            )
    quality, rates, curve_quality = _fits(
        anchor.bpp, anchor.quality, test.bpp, test.quality, anchor.bpp[point]
    )
    if not curve_quality[0] <= quality <= curve_quality[-1]:
        raise SettingError(
            f"the test curve runs from {curve_quality[0]:g} to {curve_quality[-1]:g} and does not "
            f"have the anchor's {quality:g}; add settings"
        )
    bpp, anchor_bpp = _rate_at(quality, rates, curve_quality), float(anchor.bpp[point])
    percents = [
        100 * (_rate_at(*_fits(*rows, rows[0][point])) / rows[0][point] - 1)
        for rows in zip(*anchor[2:], *test[2:])
        if np.isfinite([*rows[1], *rows[3]]).all()  # a draw of the images may have no object
    ]
    interval = None
    if percents:
        low = float(np.percentile(percents, 2.5, method="lower"))
        high = float(np.percentile(percents, 97.5, method="higher"))
        if not np.isfinite(high):
            raise SettingError("the test curve ends too low for an interval; add higher rates")
        interval = (low, high)
    return EqualQuality(anchor_bpp, quality, bpp, 100 * (bpp / anchor_bpp - 1), interval)


def _fits(
    anchor_bpp: np.ndarray,
    anchor_quality: np.ndarray,
    test_bpp: np.ndarray,
    test_quality: np.ndarray,
    at_bpp: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Fitted quality of the anchor at a rate, and the fitted curve of the test."""
    log_rates, curve = rising_fit(np.log(anchor_bpp), anchor_quality)
    quality = float(np.interp(np.log(at_bpp), log_rates, curve))
    rates, test_curve = rising_fit(np.log(test_bpp), test_quality)
    return quality, np.exp(rates), test_curve


def _rate_at(quality: float, rates: np.ndarray, curve: np.ndarray) -> float:
    """The lowest rate at which a rising curve has a quality; infinite where it never has."""
    position = int(np.searchsorted(curve, quality - 1e-9))
    return float(rates[position]) if position < len(rates) else float("inf")
