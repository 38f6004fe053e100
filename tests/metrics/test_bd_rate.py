"""Laws of the rate difference."""

import numpy as np
import pytest

from salcompress.errors import SettingError
from salcompress.metrics.bd_rate import (
    ResampledCurve,
    bd_rate,
    fitted_bd_rate,
    rate_hull,
    resampled_bd_rate,
)

RATES = np.array([0.1, 0.2, 0.4, 0.8, 1.2])
QUALITY = np.array([25.0, 28.0, 31.5, 34.0, 35.5])


@pytest.mark.parametrize("compare", [bd_rate, fitted_bd_rate])
def test_against_itself_it_is_zero(compare):
    assert compare(RATES, QUALITY, RATES, QUALITY).percent == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("compare", [bd_rate, fitted_bd_rate])
@pytest.mark.parametrize("factor, percent", [(0.5, -50), (2, 100)])
def test_a_scaled_rate_gives_the_scale(compare, factor, percent):
    found = compare(RATES, QUALITY, factor * RATES, QUALITY)
    assert found.percent == pytest.approx(percent, abs=1e-9)
    # the fit, of four parameters, need not end in the outermost of five points
    assert (found.low, found.high) == pytest.approx((25, 35.5), abs=0.2)
    assert found.num_points == (5, 5)


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


def rising_ap(rates):
    """An AP that saturates as those of real detectors do."""
    return 35.2 / (1 + np.exp(-1.6 * np.log(np.asarray(rates) / 0.15)))


def test_a_fit_does_not_depend_on_the_number_of_points():
    """The same curve by 5 points and by 40: what is left is how well four parameters fit it."""
    few, many = np.geomspace(0.12, 1.5, 5), np.geomspace(0.12, 1.5, 40)
    assert abs(fitted_bd_rate(few, rising_ap(few), many, rising_ap(many)).percent) < 1


def test_noise_does_not_favour_the_curve_with_more_points():
    """Equal truth, 7 points against 14, noise of 1 AP: the hull gives the latter 2 to 5 %.

    The standard error of the mean over 400 draws is 0.28 %, so that the bound is over three of it.
    """
    rng = np.random.default_rng(0)
    anchor, test = np.geomspace(0.12, 1.5, 7), np.geomspace(0.12, 1.5, 14)
    fitted, hulls = [], []
    for _ in range(400):
        curves = (
            anchor,
            rising_ap(anchor) + rng.normal(0, 1, 7),
            test,
            rising_ap(test) + rng.normal(0, 1, 14),
        )
        fitted.append(fitted_bd_rate(*curves).percent)
        hulls.append(bd_rate(*curves).percent)
    assert abs(np.mean(fitted)) < 1
    assert np.mean(hulls) < -1  # the bias that the fit is there to avoid


def test_a_fit_never_falls_where_the_points_do():
    """Points of falling quality in between change the curve, but it keeps a rate for each AP."""
    quality = np.array([25.0, 28.0, 27.0, 34.0, 33.5])
    found = fitted_bd_rate(RATES, quality, 0.8 * RATES, quality)
    assert found.percent == pytest.approx(-20, abs=1e-9)


def resampled(rates, quality, luck):
    """A curve whose quality moves as a whole with the images drawn."""
    copies = np.tile(rates, (len(luck), 1))
    return ResampledCurve(rates, quality, copies, quality + luck[:, None])


def test_luck_that_both_curves_share_does_not_widen_the_interval():
    luck = np.random.default_rng(1).normal(0, 1, 60)
    curve, half = resampled(RATES, QUALITY, luck), resampled(0.5 * RATES, QUALITY, luck)
    found = resampled_bd_rate(curve, half)
    assert found.percent == pytest.approx(-50, abs=1e-9)
    assert found.interval == pytest.approx((-50, -50), abs=1e-9)
    other = resampled(0.5 * RATES, QUALITY, luck[::-1])  # luck of its own
    low, high = resampled_bd_rate(curve, other).interval
    assert low < -55 and high > -45


def test_the_interval_covers_the_truth():
    """Noise of each point alone: 95 % intervals hold the truth, 0, nearly always.

    Of 40 intervals 38 are expected to; 33 or fewer have a probability of one percent.
    """
    rng = np.random.default_rng(2)
    rates = np.geomspace(0.12, 1.5, 8)
    covered = 0
    for _ in range(40):
        curves = []
        for _ in range(2):
            measured = rising_ap(rates) + rng.normal(0, 0.5, 8)
            draws = measured + rng.normal(0, 0.5, (100, 8))
            curves.append(ResampledCurve(rates, measured, np.tile(rates, (100, 1)), draws))
        low, high = resampled_bd_rate(*curves).interval
        covered += low <= 0 <= high
    assert covered > 33


def test_curves_that_few_resamples_can_compare_have_no_interval():
    curve = resampled(RATES, QUALITY, np.zeros(10))
    gaps = curve.quality_resamples.copy()
    gaps[3] = np.nan  # a draw without any object
    with pytest.raises(SettingError, match="on 1 of 10 resamples .* measure more images"):
        resampled_bd_rate(curve, curve._replace(quality_resamples=gaps))
    with pytest.raises(SettingError, match="must have the same resamples"):
        resampled_bd_rate(curve, resampled(RATES, QUALITY, np.zeros(9)))


def test_a_fit_refuses_what_cannot_be_compared():
    with pytest.raises(SettingError, match="test curve has 3 usable points"):
        fitted_bd_rate(RATES, QUALITY, RATES[[0, 1, 2, 2]], QUALITY[:4])
    with pytest.raises(SettingError, match="no quality in common"):
        fitted_bd_rate(RATES, QUALITY, RATES, QUALITY + 40)
    with pytest.raises(SettingError, match="no quality in common"):
        fitted_bd_rate(RATES, QUALITY, RATES, np.full(5, 30.0))  # it is flat
