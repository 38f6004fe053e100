"""The page stands alone and says what a reader must know."""

import base64
import datetime
import gzip
import json
import re

import pytest
from plotly.offline import get_plotlyjs

from salcompress.codecs import load_codecs
from salcompress.errors import SettingError
from salcompress.reporting.curves import curves_of, rate_difference, varying_options
from salcompress.reporting.foot import Provenance
from salcompress.reporting.html import render
from salcompress.reporting.losses import Loss, SettingLosses
from salcompress.reporting.report import write_report
from tests.evaluation.runs import run
from tests.reporting.rows import resampled, row

ROWS = [row("jpeg", q, 0.01 * q, 10 + q, 25 + q / 10) for q in (10, 20, 30, 40)]
HALF = [row("webp", q, 0.005 * q, 10 + q, 25 + q / 10) for q in (10, 20, 30, 40)]


def body(page: str) -> str:
    """What a reader sees, without what scripts read."""
    return page[page.index("</head>") : page.index("<script")]


def test_nothing_is_loaded_from_elsewhere():
    page = render(ROWS + HALF)
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=['\"]?http", page)
    assert not re.findall(r"url\(|@import", page)
    packed = re.search(r"id=plotly>([^<]+)<", page).group(1)
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def seen(rows, factor=2.5):
    return [r._replace(bpp_detector=r.bpp / factor) for r in rows]


def units(page: str) -> list[str]:
    return re.findall(r"type=radio name=unit value=(\w+)", body(page))


def test_charts_may_be_read_in_each_unit_that_all_curves_have():
    assert units(render(ROWS)) == []
    assert units(render(seen(ROWS) + HALF)) == []  # a curve could not be drawn
    assert units(render(ROWS, pixels_per_image=1000)) == ["bpp", "kB"]
    page = render([row("none", 1, 8.0, 60, setting=""), *seen(ROWS + HALF)])
    assert units(page) == ["bpp", "bppDetector"]  # the uncompressed pictures are no curve
    assert units(render(seen(ROWS), pixels_per_image=1000)) == ["bpp", "kB", "bppDetector"]
    data = json.loads(re.search(r"id=data>(.*?)</script>", page, re.DOTALL).group(1))
    rates = [point["bppDetector"] for point in data["curves"][0]["points"]]
    assert rates == [rate / 2.5 for rate in (0.1, 0.2, 0.3, 0.4)]


def test_the_table_has_the_rate_over_what_the_detector_saw_where_a_row_has_it():
    assert "detector bpp" not in body(render(ROWS))
    text = body(render([ROWS[0], *seen(ROWS[1:])]))
    assert "<button type=button>detector bpp</button>" in text and ">0.080</td>" in text


def test_rate_difference_and_its_interval():
    text = body(render(ROWS + HALF))
    assert "−50.0 %</span><small>[20.0, 50.0]" in text and "<b>jpeg</b>: bits" in text


def test_curves_that_differ_in_more_than_rate_stay_apart():
    steered = [
        row("salient", q, 0.005 * q, 10 + q)._replace(
            setting=f"q={q},saliency=boxes,saliency_strength=6"
        )
        for q in (10, 20, 30, 40)
    ]
    plain = [
        row("salient", q, 0.01 * q, 10 + q)._replace(setting=f"q={q},saliency=uniform")
        for q in (10, 20, 30, 40)
    ]
    curves = curves_of([*ROWS, *plain, *steered])
    assert list(curves) == [
        "jpeg",
        "salient saliency=uniform",
        "salient saliency=boxes,saliency_strength=6",
    ]
    text = body(render([*ROWS, *plain, *steered]))
    assert re.search(r"<b>salient saliency=uniform</b></td><td><span class=\w+>[+−]0.0 %", text)
    assert "−50.0 %" in text and list(curves_of(plain)) == ["salient"]


def test_perceptual_distance_counts_as_a_quality_that_falls():
    far = [r._replace(perceptual=2.0**-k) for k, r in enumerate(ROWS)]
    near = [r._replace(perceptual=2.0**-k) for k, r in enumerate(HALF)]
    assert "−50.0 %</span><small>[0.125, 1.000]" in body(render(far + near))


def test_bits_on_objects():
    assert "bits on objects" not in body(render(ROWS)).split("How to read")[0]
    text = body(render([*ROWS, row("salient", 1, 0.2, 30, object_bits=0.42, object_area=0.2)]))
    assert "42 % <small>(20 %)" in text


def test_too_few_points_are_said():
    assert "this run has 1" in body(render(ROWS + HALF[:3]))
    flat = [r._replace(box=r.box | {"AP": 30.0}) for r in HALF]
    assert "under 4 points" in body(render(ROWS + flat))


def test_synthetic_data_and_left_out_images_are_said():
    drawn = [r._replace(dataset="synthetic scenes (seed 3)") for r in ROWS]
    page = body(render(drawn, skipped={"a<b>.jpg": "truncated"}))
    assert (
        "they say nothing about photographs" in page
        and "a&lt;b&gt;.jpg" in page
        and "1 image could" in page
    )
    assert "Synthetic" not in body(render(ROWS)) and "Left out" not in body(render(ROWS))


def test_rows_of_different_images_are_said():
    assert "not strictly comparable" in body(render([*ROWS[:3], ROWS[3]._replace(num_images=59)]))


def test_unmeasured_figures_are_dashes_and_names_are_escaped():
    page = body(render([row("none", 1, 4.0, 35.0, None, setting="", ms_ssim=None)]))
    assert "set&lt;1&gt;" in page and "<td>–</td>" in page and "nan" not in page.lower()


def test_options_that_do_not_vary_are_left_out():
    assert varying_options(ROWS[0], ROWS) == "q=10"
    assert varying_options(ROWS[0], ROWS[:1]) == "q=10"
    both = [ROWS[0], ROWS[0]._replace(setting="q=10,subsampling=444")]
    assert varying_options(both[1], both) == "q=10,subsampling=444"


def test_what_cannot_be_one_report():
    with pytest.raises(SettingError, match="at least one"):
        render([])
    with pytest.raises(SettingError, match="one data set and one detector"):
        render([ROWS[0], ROWS[1]._replace(detector="other")])


def test_the_page_is_a_file_of_its_own_and_whole():
    page = render(ROWS)
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "How to read this" in body(page)


def test_a_name_that_is_not_utf8_is_shown_by_its_bytes():
    page = render(
        [r._replace(dataset="caf\udce9/instances") for r in ROWS], skipped={"\udce9.jpg": "x"}
    )
    assert "caf\\udce9/instances" in page and "\\udce9.jpg" in page
    page.encode("utf-8")


def test_the_rate_difference_over_ap_has_an_interval_where_rows_were_resampled():
    known = resampled(ROWS + HALF)
    found = rate_difference(ROWS, HALF, "box_AP", known)
    assert found.percent == pytest.approx(-50) and found.interval == pytest.approx((-50, -50))
    assert "−50.0 to −50.0 [" in body(render(ROWS + HALF, resamples=known))
    del known[HALF[0].fingerprint]
    assert rate_difference(ROWS, HALF, "box_AP", known).interval is None
    assert rate_difference(ROWS, HALF, "psnr", resampled(ROWS + HALF)).interval is None
    for r in ROWS + HALF:
        known.setdefault(r.fingerprint, {"bpp": [r.bpp] * 40})["psnr"] = [r.psnr] * 40
    found = rate_difference(ROWS, HALF, "psnr", known)
    assert found.interval == pytest.approx((found.percent, found.percent))


def test_the_rate_difference_over_ap_does_not_favour_the_curve_with_more_points():
    """Of 14 points whose APs scatter the hull would keep the lucky ones."""
    many = [row("webp", k, 0.05 * 1.2**k, 20 + 2 * k + (-1) ** k) for k in range(14)]
    few = [row("jpeg", k, 0.05 * 1.2**k, 20 + 2 * k) for k in range(0, 14, 2)]
    assert abs(rate_difference(few, many, "box_AP").percent) < 3


def test_too_few_resamples_leave_the_difference_without_an_interval():
    known = resampled(ROWS + HALF)
    for figures in known.values():
        figures["box_AP"][:20] = [float("nan")] * 20
    found = rate_difference(ROWS, HALF, "box_AP", known)
    assert found.interval is None and found.percent == pytest.approx(-50)


def test_a_command_and_names_of_files_cannot_become_markup():
    name = "</script><b>.jpg"
    loss = Loss(1, name, 3, {"<i>": 2}, 0.5, None)
    found = {r.fingerprint: SettingLosses((loss,), 2, 3, 1) for r in ROWS}
    made = Provenance(datetime.date(2026, 1, 2), ("salcompress evaluate --out '<b>'",))
    page = render(ROWS, losses=found, provenance=made)
    assert name not in page and "<i>" not in body(page).split("How to read")[0]
    data = json.loads(re.search(r"id=data>(.*?)</script>", page, re.DOTALL).group(1))
    assert data["losses"][0]["worst"][0]["name"] == name
    assert (
        "on 2 January 2026 by <code>salcompress evaluate --out &#x27;&lt;b&gt;&#x27;</code>" in page
    )


def test_a_page_without_pictures_or_curves_is_whole(tmp_path):
    page = body(render([row("none", 1, 4.0, 35.0, setting="")]))
    assert "id=viewer" not in page and "id=losses" not in page and "id=charts" not in page
    assert "Settings" in page


def test_a_folder_without_objects_has_a_page_without_pictures(
    scene_dataset, fast_detector, tmp_path
):
    run(scene_dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path, with_perceptual=False)
    assert "id=viewer" in write_report(tmp_path)[0].read_text()
    (tmp_path / "objects.json").unlink()
    assert "id=viewer" not in write_report(tmp_path)[0].read_text()
