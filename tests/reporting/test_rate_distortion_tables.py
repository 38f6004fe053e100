"""Tables say what the points say, and where there is nothing to say."""

from salcompress.evaluation.rate_distortion import RateDistortionPoint
from salcompress.reporting.rate_distortion_tables import (
    bd_rate_table,
    measured_table,
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
