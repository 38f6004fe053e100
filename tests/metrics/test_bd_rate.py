"""Laws of the rate difference."""

import numpy as np
import pytest

from salcompress.errors import SettingError
from salcompress.metrics.bd_rate import bd_rate, rate_hull

RATES = np.array([0.1, 0.2, 0.4, 0.8, 1.2])
QUALITY = np.array([25.0, 28.0, 31.5, 34.0, 35.5])


def test_against_itself_it_is_zero():
    assert bd_rate(RATES, QUALITY, RATES, QUALITY).percent == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor, percent", [(0.5, -50), (2, 100)])
def test_a_scaled_rate_gives_the_scale(factor, percent):
    found = bd_rate(RATES, QUALITY, factor * RATES, QUALITY)
    assert found.percent == pytest.approx(percent, abs=1e-9)
    assert (found.low, found.high, found.num_points) == (25, 35.5, (5, 5))


def test_exchange_inverts_and_order_of_points_is_free():
    forward = bd_rate(RATES, QUALITY, 0.7 * RATES[::-1], QUALITY[::-1] + 0.5)
    back = bd_rate(0.7 * RATES, QUALITY + 0.5, RATES, QUALITY)
    assert (1 + forward.percent / 100) * (1 + back.percent / 100) == pytest.approx(1, abs=1e-12)


def test_only_the_common_interval_counts():
    found = bd_rate(RATES, QUALITY, RATES, QUALITY + 3)
    assert (found.low, found.high) == (28, 35.5)


def test_dominated_points_are_left_out():
    rates, quality = rate_hull([0.1, 0.2, 0.3, 0.3, 0.4], [10, 20, 19, 21, 21])
    assert rates.tolist() == [0.1, 0.2, 0.3] and quality.tolist() == [10, 20, 21]


def test_the_integral_is_right():
    """The integral in closed form equals a trapezoid on a fine grid."""
    from scipy.interpolate import PchipInterpolator

    a, b = (
        (np.array([100, 200, 400, 900]), np.array([30, 33, 36, 39.2])),
        (np.array([80, 170, 330, 700]), np.array([30.4, 33.1, 35.9, 38.8])),
    )
    grid = np.linspace(30.4, 38.8, 200_001)
    difference = PchipInterpolator(b[1], np.log(b[0]))(grid) - PchipInterpolator(
        a[1], np.log(a[0])
    )(grid)
    assert bd_rate(*a, *b).percent == pytest.approx(
        100 * np.expm1(np.trapezoid(difference, grid) / 8.4), abs=1e-6
    )


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(SettingError, match="test curve has 3 usable points, and a BD-rate needs 4"):
        bd_rate(RATES, QUALITY, RATES[:3], QUALITY[:3])
    with pytest.raises(
        ValueError, match="no quality in common: anchor 25 to 35.5, test 65 to 75.5"
    ):
        bd_rate(RATES, QUALITY, RATES, QUALITY + 40)
    with pytest.raises(SettingError, match="rates must be positive"):
        bd_rate(RATES * 0, QUALITY, RATES, QUALITY)
    with pytest.raises(SettingError, match="finite"):
        bd_rate(RATES, QUALITY * np.nan, RATES, QUALITY)
    with pytest.raises(SettingError, match="lists of one length"):
        bd_rate(RATES, QUALITY[1:], RATES, QUALITY)
