"""Comparison of rate curves: hulls and the Bjontegaard rate difference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from salcompress.errors import SettingError

MIN_POINTS = 4
"""Fewest points of a curve that a rate difference is given for."""


class BdRate(NamedTuple):
    """Average rate difference at equal quality."""

    percent: float
    """Of the anchor's rate: -30 means 30 % fewer bits."""
    low: float
    high: float
    """The common interval of quality that was averaged over."""
    num_points: tuple[int, int]
    """Points of anchor and test that lie on their hulls and were used."""


def rate_hull(bpp: Sequence[float], quality: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The points that no other point beats: each costs more than the one before and is better.

    Measured AP rises unevenly; a setting that costs more and gives less would not be chosen by
    anyone.

    Returns:
        Rates and qualities, both strictly increasing.

    Raises:
        SettingError: The lengths differ, a rate is not positive, or a value is not finite.
    """
    bpp, quality = np.asarray(bpp, float), np.asarray(quality, float)
    if bpp.shape != quality.shape or bpp.ndim != 1:
        raise SettingError(
            f"rates and qualities must be lists of one length, got shapes {bpp.shape} and "
            f"{quality.shape}"
        )
    if not (np.isfinite(bpp).all() and np.isfinite(quality).all() and (bpp > 0).all()):
        raise SettingError("rates must be positive, and rates and qualities finite")
    kept_bpp, kept_quality = [], []
    for rate, value in sorted(zip(bpp, quality), key=lambda point: (point[0], -point[1])):
        if not kept_quality or value > kept_quality[-1]:
            kept_bpp.append(rate)
            kept_quality.append(value)
    return np.array(kept_bpp), np.array(kept_quality)


def bd_rate(
    anchor_bpp: Sequence[float],
    anchor_quality: Sequence[float],
    test_bpp: Sequence[float],
    test_quality: Sequence[float],
) -> BdRate:
    """Bjontegaard rate difference of ``test`` against ``anchor``, over the qualities that both
    reach.

    Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with
    monotone (PCHIP) interpolation of log rate over quality in place of a cubic, on the hull of each
    curve.

    Args:
        anchor_bpp, test_bpp: Bits per pixel.
        anchor_quality, test_quality: PSNR, MS-SSIM, AP, ... : higher is better.

    Raises:
        SettingError: (a ValueError) Fewer than four points on a hull, or no common quality.
    """
    anchor, test = rate_hull(anchor_bpp, anchor_quality), rate_hull(test_bpp, test_quality)
    for name, (rates, _) in (("anchor", anchor), ("test", test)):
        if len(rates) < MIN_POINTS:
            raise SettingError(
                f"the {name} curve has {len(rates)} usable points, and a BD-rate needs "
                f"{MIN_POINTS}; add settings"
            )
    low, high = max(anchor[1][0], test[1][0]), min(anchor[1][-1], test[1][-1])
    if low >= high:
        raise SettingError(
            f"the curves have no quality in common: anchor {anchor[1][0]:g} to {anchor[1][-1]:g}, "
            f"test {test[1][0]:g} to {test[1][-1]:g}; choose settings that overlap"
        )
    log_rate = [
        PchipInterpolator(quality, np.log(rates)).integrate(low, high) / (high - low)
        for rates, quality in (anchor, test)
    ]
    percent = 100 * float(np.expm1(log_rate[1] - log_rate[0]))
    return BdRate(percent, float(low), float(high), (len(anchor[0]), len(test[0])))
