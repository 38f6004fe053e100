"""Tables say what the points say, and where there is nothing to say."""

from salcompress.evaluation.rate_distortion import RateDistortionPoint
from salcompress.reporting.rate_distortion_tables import (
    QUALITIES,
    bd_rate_table,
    measured_table,
    rate_difference,
    table_at_rates,
)


def curve(*points):
    return [RateDistortionPoint(f"x:q={k}", bpp, psnr, None, 0.5) for k, (bpp, psnr) in points]


FULL = curve(*enumerate([(0.1, 20.0), (0.2, 25.0), (0.4, 30.0), (0.8, 35.0)]))
HALF = [point._replace(bpp=point.bpp / 2) for point in FULL]


def test_bd_rates_of_curves_and_of_what_is_none():
    exact = FULL[:3] + [FULL[3]._replace(psnr=None)]
    lines = bd_rate_table({"full:q=1": FULL, "half": HALF, "exact": exact}, ["full:q=1"])
    assert lines.splitlines()[0] == "| codec | against full |"
    assert lines.splitlines()[2:] == [
        "| full:q=1 | +0.0 % |",
        "| half | -50.0 % |",
        "| exact | none: under four points, or no PSNR in common |",
    ]


def test_rates_between_settings_are_interpolated_and_none_beyond_them():
    lines = table_at_rates({"full": FULL}, [0.2, 0.4 / 2**0.5, 5]).splitlines()
    assert lines[2].split(" | ")[2] == "25.00" and lines[3].split(" | ")[2] == "27.50"
    assert "out of reach, 0.100 to 0.800" in lines[4]


def test_every_setting_has_a_line():
    lines = measured_table({"full": FULL, "half": HALF}).splitlines()
    assert len(lines) == 2 + 8 and lines[2].startswith("| x:q=0 | 0.1000 | 20.00 |")


def test_an_exact_copy_has_no_place_on_a_curve_of_qualities():
    exact = RateDistortionPoint("x", 9.0, None, None, 0)
    assert all(quality(exact) is None for quality in QUALITIES.values())
    for figure in ("psnr", "perceptual"):
        curve = [p._replace(perceptual=0.5 / 2**k) for k, p in enumerate(FULL)]
        found = rate_difference([*curve, exact], curve, figure)
        assert found == rate_difference(curve, curve, figure) and found.percent == 0
    assert (found.low, found.high) != (0, 0)


def test_points_above_the_limit_do_not_count():
    beyond = FULL[0]._replace(bpp=0.9, psnr=99.0)
    assert rate_difference([*FULL, beyond], HALF, limit=0.8) == rate_difference(FULL, HALF)
