"""A codec looks the same everywhere."""

from salcompress.codecs import CODECS
from salcompress.reporting.chart_data import looks_of
from salcompress.reporting.palette import look
from tests.reporting.rows import row

JPEG, WEBP = ([row(name, q, 0.01 * q, q) for q in (10, 20)] for name in ("jpeg", "webp"))


def test_a_look_does_not_depend_on_the_other_codecs():
    assert looks_of(JPEG + WEBP)["jpeg"] == looks_of(WEBP + JPEG)["jpeg"] == looks_of(JPEG)["jpeg"]


def test_all_codecs_of_the_package_look_different():
    looks = [look(name) for name in CODECS if name != "none"]
    assert len({drawn.light for drawn in looks}) == len({drawn.marker for drawn in looks})
    assert len({drawn.light for drawn in looks}) == len(looks)


def test_curves_of_one_codec_share_colour_and_marker():
    rows = [
        row("salient", q, 0.01 * q, q)._replace(setting=f"q={q},saliency={kind}", fingerprint=kind)
        for kind in ("uniform", "network")
        for q in (10, 20)
    ]
    first, second = looks_of(rows).values()
    assert first[:3] == second[:3] and first.dash != second.dash
    assert look("stranger") == look("stranger")
