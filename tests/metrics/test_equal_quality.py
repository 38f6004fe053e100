"""Laws of the rate at equal quality."""

import numpy as np
import pytest

from salcompress.errors import SettingError
from salcompress.metrics.bd_rate import ResampledCurve
from salcompress.metrics.equal_quality import rate_at_equal_quality

RATES = np.array([0.1, 0.2, 0.4, 0.8])
AP = np.array([20.0, 25.0, 30.0, 35.0])  # straight over log rate, so that the fit is exact


def curve(rates, ap, luck=()):
    """A curve, with resamples that are worse or better by ``luck``."""
    shifts = np.array(luck, float)[:, None]
    return ResampledCurve(rates, ap, np.tile(rates, (len(luck), 1)), ap + shifts)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.5])
def test_a_scaled_rate_gives_the_scale(factor):
    found = rate_at_equal_quality(curve(RATES, AP), curve(factor * RATES, AP), 1)
    # the grid of the fit has steps of 0.2 % of the rate
    assert found.percent == pytest.approx(100 * (factor - 1), abs=0.3)
    assert found.quality == pytest.approx(25) and found.anchor_bpp == 0.2
    assert found.interval is None


def test_luck_of_the_draw_that_both_share_leaves_no_doubt():
    luck = [-1, 0, 1] * 20
    found = rate_at_equal_quality(curve(RATES, AP, luck), curve(RATES / 2, AP, luck), 2)
    assert found.interval == pytest.approx((-50, -50), abs=0.3)


def test_luck_of_one_curve_alone_makes_an_interval_that_holds_the_difference():
    luck = np.linspace(-2, 2, 41)
    found = rate_at_equal_quality(curve(RATES, AP, 0 * luck), curve(RATES / 2, AP, luck), 1)
    low, high = found.interval
    assert low < found.percent < high
    # 5 AP are an octave: 95 % of the draws are within 1.9 AP, or a factor of 2^0.38
    assert (low, high) == pytest.approx((100 * (2**-1.38 - 1), 100 * (2**-0.62 - 1)), abs=2)


def test_a_quality_that_is_not_there():
    with pytest.raises(SettingError, match="does not have the anchor's 35"):
        rate_at_equal_quality(curve(RATES, AP), curve(RATES, AP - 10), 3)
    luck = [0, -20] * 20
    with pytest.raises(SettingError, match="ends too low for an interval"):
        rate_at_equal_quality(curve(RATES, AP, [0] * 40), curve(RATES, AP, luck), 2)
    with pytest.raises(SettingError, match="has 3 different rates, and a fit needs 4"):
        rate_at_equal_quality(curve(RATES[:3], AP[:3]), curve(RATES, AP), 0)


def test_draws_without_an_object_are_left_out():
    lacking = curve(RATES, AP, [0] * 40)
    lacking.quality_resamples[3] = np.nan
    assert rate_at_equal_quality(lacking, curve(RATES / 2, AP, [0] * 40), 1).interval is not None
