"""The Bjontegaard rate difference: how many bits one curve saves at the quality of another.

There are two of them. :func:`bd_rate` is for figures that are exact for the images measured, such
as PSNR: it runs through the points. :func:`fitted_bd_rate` is for figures that scatter about their
curve, such as average precision: it runs a smooth rising curve between the points.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from salcompress.errors import SettingError
from salcompress.metrics.rising_curve import rising_fit

MIN_POINTS = 4
"""Fewest points of a curve that a rate difference is given for."""


class BdRate(NamedTuple):
    """Average rate difference at equal quality."""

    percent: float
    """Of the anchor's rate, above -100: -30 means 30 % fewer bits."""
    low: float
    high: float
    """The common interval of quality that was averaged over."""
    num_points: tuple[int, int]
    """Points of anchor and test that were used."""
    interval: tuple[float, float] | None = None
    """The 95 % interval of ``percent`` over resampled images, where these were given."""


class ResampledCurve(NamedTuple):
    """A curve of P points, and the same curve measured on each of B resamples of the images.

    Row b of two curves that are compared must come from the same resample: what makes images
    hard is common to both, and only then does it cancel.
    """

    bpp: np.ndarray
    """Bits per pixel over all images, (P,)."""
    quality: np.ndarray
    """Quality over all images, (P,)."""
    bpp_resamples: np.ndarray
    """(B, P)."""
    quality_resamples: np.ndarray
    """(B, P)."""


def rate_hull(bpp: ArrayLike, quality: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The points that no other point beats: each costs more than the one before and is better.

    Returns:
        Rates and qualities, both strictly increasing.

    Raises:
        SettingError: The lengths differ, a rate is not positive, or a value is not finite.

    >>> rates, quality = rate_hull([0.1, 0.2, 0.3], [30, 29, 33])
    >>> rates.tolist(), quality.tolist()
    ([0.1, 0.3], [30.0, 33.0])
    """
    rates, values = _checked(bpp, quality)
    kept: list[tuple[float, float]] = []
    for rate, value in sorted(zip(rates, values), key=lambda point: (point[0], -point[1])):
        if not kept or value > kept[-1][1]:
            kept.append((rate, value))
    hull = np.array(kept).reshape(-1, 2)
    return hull[:, 0], hull[:, 1]


def bd_rate(
    anchor_bpp: ArrayLike,
    anchor_quality: ArrayLike,
    test_bpp: ArrayLike,
    test_quality: ArrayLike,
) -> BdRate:
    """Rate difference of ``test`` against ``anchor`` over the qualities that both reach.

    With R(D) the rate at quality D, it is ``exp(mean over D of ln R_test(D) - ln R_anchor(D)) - 1``
    in percent. Each curve is the hull of its points, and ln R is interpolated monotonically
    (PCHIP), where the source has a cubic: Bjontegaard, "Calculation of average PSNR differences
    between RD-curves", VCEG-M33, 2001, https://www.itu.int/wftp3/av-arch/video-site/0104_Aus/.

    Args:
        anchor_bpp, test_bpp: Bits per pixel.
        anchor_quality, test_quality: PSNR, MS-SSIM, ...; higher is better. For qualities that
            scatter, such as AP, :func:`fitted_bd_rate` is right: a hull picks the lucky points.

    Raises:
        SettingError: (a ValueError) Fewer than four points on a hull, or no common quality.

    >>> rates, psnr = [0.1, 0.2, 0.4, 0.8], [28, 31, 34, 37]
    >>> round(bd_rate(rates, psnr, [0.5 * rate for rate in rates], psnr).percent, 6)
    -50.0
    """
    anchor, test = rate_hull(anchor_bpp, anchor_quality), rate_hull(test_bpp, test_quality)
    _check_counts(len(anchor[0]), len(test[0]))
    low, high = _common_interval(anchor[1], test[1])
    log_rate = [
        PchipInterpolator(quality, np.log(rates)).integrate(low, high) / (high - low)
        for rates, quality in (anchor, test)
    ]
    percent = 100 * float(np.expm1(log_rate[1] - log_rate[0]))
    return BdRate(percent, low, high, (len(anchor[0]), len(test[0])))


def fitted_bd_rate(
    anchor_bpp: ArrayLike,
    anchor_quality: ArrayLike,
    test_bpp: ArrayLike,
    test_quality: ArrayLike,
) -> BdRate:
    """:func:`bd_rate` of qualities that scatter, such as average precision.

    Quality over log rate is fitted by least squares with a curve that never falls. The curve has
    four parameters, as Bjontegaard's cubic has, whatever the number of points: a constant, and
    slopes of at least 0 at both ends and in the middle, between which the slope runs straight.
    This is our choice. With a scatter of 1 AP, 14 points against 7 of the same truth differ by
    -0.3 % on average, and by -5.4 % on the points' hulls.

    Args:
        anchor_bpp, test_bpp: Bits per pixel.
        anchor_quality, test_quality: AP, ...; higher is better.

    Raises:
        SettingError: (a ValueError) Fewer than four different rates on a curve, or no common
            quality.

    >>> rates, ap = [0.1, 0.2, 0.4, 0.8, 1.6], [20.1, 25.3, 30.2, 29.9, 33.0]
    >>> round(fitted_bd_rate(rates, ap, [2 * rate for rate in rates], ap).percent, 6)
    100.0
    """
    anchor, test = _checked(anchor_bpp, anchor_quality), _checked(test_bpp, test_quality)
    _check_counts(len(np.unique(anchor[0])), len(np.unique(test[0])))
    fits = [rising_fit(np.log(rates), quality) for rates, quality in (anchor, test)]
    low, high = _common_interval(fits[0][1], fits[1][1])
    log_rate = [_mean_log_rate(log_rates, curve, low, high) for log_rates, curve in fits]
    percent = 100 * float(np.expm1(log_rate[1] - log_rate[0]))
    return BdRate(percent, low, high, (len(anchor[0]), len(test[0])))


Difference: TypeAlias = Callable[[ArrayLike, ArrayLike, ArrayLike, ArrayLike], BdRate]
"""Rates and qualities of the anchor, then of the test, to a rate difference."""


def resampled_bd_rate(
    anchor: ResampledCurve, test: ResampledCurve, difference: Difference = fitted_bd_rate
) -> BdRate:
    """Rate difference of two curves, with its 95 % interval over resampled images.

    The interval holds the middle 95 % of the rate differences of the resamples. Resamples on
    which the curves have no common quality, or no quality at all, are left out.

    Args:
        anchor, test: The curves.
        difference: :func:`fitted_bd_rate`, or :func:`bd_rate` for figures that do not scatter.

    Raises:
        SettingError: (a ValueError) As ``difference``; also when the numbers of resamples
            differ, or when one resample in twenty or more had to be left out.

    >>> rates, ap = np.array([0.1, 0.2, 0.4, 0.8]), np.array([20.0, 25.0, 28.0, 30.0])
    >>> luck = np.array([[-1.0], [0.0], [1.0]])  # of the images drawn, and common to both curves
    >>> curve = ResampledCurve(rates, ap, np.tile(rates, (3, 1)), ap + luck)
    >>> half = curve._replace(bpp=rates / 2, bpp_resamples=curve.bpp_resamples / 2)
    >>> [round(bound, 6) for bound in resampled_bd_rate(curve, half).interval]
    [-50.0, -50.0]
    """
    num_resamples = len(anchor.bpp_resamples)
    lengths = {len(rows) for curve in (anchor, test) for rows in curve[2:]}
    if lengths != {num_resamples} or num_resamples == 0:
        raise SettingError(
            "anchor and test must have the same resamples, at least one, got "
            f"{len(anchor.quality_resamples)} and {len(test.quality_resamples)}"
        )
    found = difference(anchor.bpp, anchor.quality, test.bpp, test.quality)
    percents = []
    for rows in zip(*anchor[2:], *test[2:]):
        try:
            percents.append(difference(*rows).percent)
        except SettingError:  # this draw of the images has no such object, or no common quality
            continue
    if len(percents) <= 0.95 * num_resamples:
        raise SettingError(
            f"on {num_resamples - len(percents)} of {num_resamples} resamples the curves cannot "
            "be compared, so that there is no 95 % interval; measure more images"
        )
    low, high = np.percentile(percents, (2.5, 97.5))
    return found._replace(interval=(float(low), float(high)))


def _checked(bpp: ArrayLike, quality: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    rates, values = np.asarray(bpp, float), np.asarray(quality, float)
    if rates.shape != values.shape or rates.ndim != 1:
        raise SettingError(
            f"rates and qualities must be lists of one length, got shapes {rates.shape} and "
            f"{values.shape}"
        )
    if not (np.isfinite(rates).all() and np.isfinite(values).all() and (rates > 0).all()):
        raise SettingError("rates must be positive, and rates and qualities finite")
    return rates, values


def _check_counts(anchor: int, test: int) -> None:
    for name, count in (("anchor", anchor), ("test", test)):
        if count < MIN_POINTS:
            raise SettingError(
                f"the {name} curve has {count} usable points, and a BD-rate needs {MIN_POINTS}; "
                "add settings"
            )


def _common_interval(anchor: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Interval of quality that two rising curves share."""
    low, high = max(anchor[0], test[0]), min(anchor[-1], test[-1])
    if high - low <= 1e-9 * max(1.0, abs(high)):  # a flat fit rises by rounding errors
        raise SettingError(
            f"the curves have no quality in common: anchor {anchor[0]:g} to {anchor[-1]:g}, "
            f"test {test[0]:g} to {test[-1]:g}; choose settings that overlap"
        )
    return float(low), float(high)


def _mean_log_rate(log_rates: np.ndarray, curve: np.ndarray, low: float, high: float) -> float:
    """Mean over the qualities from ``low`` to ``high`` of the log rate at which a curve has them.

    A flat stretch of the curve covers no quality and so has no weight.
    """
    weights = np.diff(np.clip(curve, low, high)) / (high - low)
    return float(weights @ (log_rates[1:] + log_rates[:-1]) / 2)
