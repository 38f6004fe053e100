"""The first sentence says what the rows say."""

import pytest

from salcompress.reporting.headline import headline, headline_html
from tests.reporting.rows import resampled, row

JPEG = [row("jpeg", q, 0.1 * 2**k, 20 + 5 * k) for k, q in enumerate((10, 20, 30, 40))]
WEBP = [row("webp", q, 0.05 * 2**k, 20 + 5 * k) for k, q in enumerate((10, 20, 30, 40))]
OURS = [row("salient", q, 0.075 * 2**k, 20 + 5 * k) for k, q in enumerate((10, 20, 30, 40))]


def test_it_is_about_the_learned_codec_and_names_the_others():
    said = headline([*JPEG, *WEBP, *OURS])
    assert (said.anchor, said.test) == ("jpeg", "salient")
    assert said.found.percent == pytest.approx(-25, abs=0.3)
    assert [name for name, _ in said.others] == ["webp"]


def test_without_the_learned_codec_it_is_about_the_best():
    worse = [r._replace(codec="avif", fingerprint=f"avif{r.bpp}", bpp=4 * r.bpp) for r in WEBP]
    assert headline([*JPEG, *worse, *WEBP]).test == "webp"


def test_its_interval_is_that_of_the_resamples():
    rows = [*JPEG, *WEBP]
    text = headline_html(rows, resampled(rows), 300_000)
    assert "jpeg</span> at 0.80 bpp" in text and "<strong>50 % fewer bits</strong>" in text
    assert "interval over the images is −50 to −50 %" in text and "(30 kB an image)" in text


def test_it_says_when_images_do_not_tell_two_codecs_apart():
    rows = [*JPEG, *[r._replace(codec="webp", fingerprint=f"webp{r.bpp}") for r in JPEG]]
    known = resampled(rows)
    for r in rows[4:]:
        known[r.fingerprint]["box_AP"] = [r.box["AP"] + (-1) ** k for k in range(40)]
    assert "cannot be told apart" in headline_html(rows, known, None)


def test_more_bits_are_said_as_more():
    assert "fewer" not in headline_html([*WEBP, *JPEG], {}, None)
    assert "100 % more bits" in headline_html([*WEBP, *JPEG], {}, None)


def test_too_few_rows_say_nothing():
    assert headline_html([*JPEG, *WEBP[:3]], {}, None) == ""
    assert headline_html([*JPEG, *[r._replace(box=None) for r in WEBP]], {}, None) == ""
