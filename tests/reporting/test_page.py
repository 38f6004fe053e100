"""The page does what it offers, clicked through in a real browser. It is skipped where there is no
Chromium, or no playwright (``pip install -e ".[browser]"``, which needs no browser of its own).
"""

import shutil

import pytest

from salcompress.codecs import load_codecs
from salcompress.detectors import load_detector
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.worst_pictures import keep_worst_pictures
from salcompress.reporting.html import render
from salcompress.reporting.report import write_report
from tests.evaluation.runs import Sized
from tests.reporting.rows import row

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CODECS = ("none", "jpeg:q=3,10", "webp:q=1", "salient:q=0.1")


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        # as root, and in containers, Chromium's sandbox does not start
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(scene_dataset, tmp_path_factory):
    """The page of a real evaluation."""
    folder, codecs = tmp_path_factory.mktemp("report"), load_codecs(*CODECS)
    detector = Sized(load_detector("scenes", scene_dataset.category_ids))
    evaluate(scene_dataset, detector, codecs, folder, with_perceptual=False)
    keep_worst_pictures(folder, scene_dataset, codecs)
    return write_report(folder)[0]


@pytest.fixture
def opened(browser, report):
    """Opens the page; what went wrong in it, or left it, fails the test."""
    pages, wrong = [], []

    def opened(width=1400, *, charts=True, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("http", "ws")) and wrong.append(asked.url),
        )
        page.goto(report.as_uri())
        if charts:
            page.wait_for_selector(".plot .main-svg")
        return page

    yield opened
    for page in pages:
        page.close()
    assert not wrong


def shown_curves(page):
    """Names of the curves that each plot shows."""
    return page.evaluate(
        "[...document.querySelectorAll('.plot')].map(plot => "
        "plot.data.filter(t => t.name && t.visible).map(t => t.name).join())"
    )


def test_a_legend_click_acts_on_all_plots(opened):
    page = opened()
    everything = shown_curves(page)
    assert len(everything) == 4 and set(everything) == {"jpeg,webp,salient"}
    legend = page.locator(".legend button")
    legend.nth(1).click()
    assert set(shown_curves(page)) == {"jpeg,salient"}
    legend.nth(1).press("Enter")
    assert shown_curves(page) == everything
    legend.nth(2).dblclick()
    assert set(shown_curves(page)) == {"salient"}
    legend.nth(2).dblclick()
    assert shown_curves(page) == everything


def test_rates_can_be_read_in_kilobytes(opened):
    page = opened()
    first = "document.querySelector('.plot')"
    bpp = page.evaluate(f"{first}.data[1].x")
    page.check("input[value=kB]")
    assert page.evaluate(f"{first}.layout.xaxis.title.text") == "kB per image"
    kilobytes = page.evaluate(f"{first}.data[1].x")
    assert kilobytes == pytest.approx([rate * 240 * 320 / 8000 for rate in bpp])
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("u")
    page.keyboard.press("u")  # past the bits that the detector saw
    assert page.evaluate(f"{first}.data[1].x") == bpp
    page.uncheck("#bands")
    assert not page.evaluate(f"{first}.data[0].visible")


def test_rates_can_be_read_over_the_pixels_that_the_detector_saw(opened):
    page = opened()
    first = "document.querySelector('.plot')"
    bpp = page.evaluate(f"{first}.data[1].x")
    page.check("input[value=bppDetector]")
    assert "detector saw" in page.evaluate(f"{first}.layout.xaxis.title.text")
    seen = [rate * 240 * 320 / (100 * 133) for rate in bpp]  # it says that it resizes to 100 rows
    assert page.evaluate(f"{first}.data[1].x") == pytest.approx(seen)
    assert f"{seen[0]:.3f} bpp" in page.evaluate(f"{first}.data[1].text[0]")
    page.evaluate("document.activeElement.blur()")
    for title in ("bits per pixel, pooled", "kB per image"):
        page.keyboard.press("u")
        assert page.evaluate(f"{first}.layout.xaxis.title.text") == title


def test_the_detectors_unit_needs_no_size_of_the_images(browser, tmp_path):
    rows = [row("jpeg", q, 0.01 * q, q, bpp_detector=0.02 * q) for q in (10, 20)]
    (tmp_path / "report.html").write_text(render(rows))
    with browser.new_page() as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector(".plot .main-svg")
        page.keyboard.press("u")
        rates = page.evaluate("document.querySelector('.plot').data[1].x")
        assert rates == [0.2, 0.4] and page.is_checked("input[value=bppDetector]")
        page.keyboard.press("u")
        assert page.is_checked("input[value=bpp]")


def test_two_settings_are_compared_with_a_divider(opened):
    page = opened(charts=False)
    stage = page.locator("#stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=4)
    page.mouse.up()
    divider = page.locator("#divider")
    assert divider.get_attribute("aria-valuenow") == "25"
    divider.focus()
    page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27"
    page.keyboard.press("Home")
    assert divider.get_attribute("aria-valuenow") == "0"
    sources = [page.locator(f".side.{side} .picture").get_attribute("src") for side in SIDES]
    page.select_option("#left", label="jpeg q=3")
    page.select_option("#right", label="webp q=1")
    others = [page.locator(f".side.{side} .picture").get_attribute("src") for side in SIDES]
    assert len({*sources, *others}) == 4
    assert "jpeg q=3" in page.locator("#left-caption").inner_text()
    page.click("#swap")
    assert page.locator(".side.left .picture").get_attribute("src") == others[1]
    assert "webp q=1" in page.locator("#left-caption").inner_text()


SIDES = ("left", "right")


def test_hits_misses_and_false_finds_are_switched_on_and_off(opened):
    page = opened(charts=False)
    for kind in ("hits", "misses", "false"):
        counted = page.locator(f"#right-caption .count.{kind}").inner_text()
        drawn = page.locator(f".side.right svg g.{kind}")
        assert drawn.count() == int(counted.split()[0])
        page.click(f"[data-kind={kind}]")
        assert drawn.count() == 0
        page.keyboard.press(kind[0])
        assert drawn.count() == int(counted.split()[0])
    colours = {
        page.evaluate(
            "kind => getComputedStyle(document.querySelector(`.kind.${kind}`), '::before')"
            ".backgroundColor",
            kind,
        )
        for kind in ("hits", "misses", "false")
    }
    assert len(colours) == 3
    assert page.locator(".side svg text").count() == 0
    page.click("[data-kind=labels]")
    assert page.locator(".side svg text").count() > 0


def test_maps_are_those_of_the_learned_codec(opened):
    page = opened(charts=False)
    assert "salient" in page.locator("#right-caption").inner_text()
    sources = set()
    for name in ("saliency", "quality", "bits"):
        page.click(f"[data-map={name}]")
        overlay = page.locator(".side.right .map")
        assert overlay.is_visible() and name in page.locator("#right-caption .scale").inner_text()
        assert not page.locator(".side.left .map").is_visible()
        sources.add(overlay.get_attribute("src"))
    assert len(sources) == 3
    page.keyboard.press("b")
    assert not page.locator(".side.right .map").is_visible()
    page.select_option("#right", label="jpeg q=3")
    assert page.locator("[data-map=bits]").is_disabled()


def test_zoom_goes_to_pixels(opened):
    page = opened(charts=False)
    fitting = page.locator("#zoom").inner_text()
    for _ in range(6):
        page.click("#zoom-in")
    assert page.locator("#zoom").inner_text() == "32×"
    assert page.locator(".side.left .picture").bounding_box()["width"] == 32 * 320
    assert page.evaluate(
        "getComputedStyle(document.querySelector('.side.left .picture')).imageRendering"
    ) == ("pixelated")
    before = page.locator(".side.left .picture").bounding_box()["x"]
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".side.left .picture").bounding_box()["x"] == pytest.approx(before - 60)
    page.keyboard.press("0")
    assert page.locator("#zoom").inner_text() == fitting


def test_losses_are_worst_first_and_lead_to_the_pictures(opened):
    page = opened(charts=False)
    page.select_option("#losing", label="jpeg q=3")
    lost = [int(text) for text in page.locator("#lost td:nth-child(2)").all_inner_texts()]
    assert lost and lost == sorted(lost, reverse=True)
    link = page.locator("#lost .link").first
    name = link.inner_text()
    link.click()
    assert page.locator("#right option:checked").inner_text() == "jpeg q=3"
    pressed = page.locator("#thumbs button[aria-pressed=true]")
    assert pressed.get_attribute("title") == name
    page.keyboard.press("n")
    assert pressed.get_attribute("title") != name
    page.keyboard.press("]")
    assert page.locator("#right option:checked").inner_text() == "jpeg q=10"


def test_the_table_sorts_and_keeps_its_head(opened):
    page = opened(charts=False)
    heads = page.locator(".settings th")
    k = next(k for k, text in enumerate(heads.all_inner_texts()) if "PSNR" in text)
    head, column = heads.nth(k), page.locator(f".settings tbody td:nth-child({k + 1})")
    head.locator("button").click()
    rising = column.all_inner_texts()
    figures = [float(text) for text in rising[:-1]]
    assert figures == sorted(figures) and rising[-1] == "–"  # of the uncompressed pictures
    head.locator("button").click()
    assert column.all_inner_texts() == [*reversed(rising[:-1]), "–"]
    assert head.get_attribute("aria-sort") == "descending"
    page.set_viewport_size({"width": 1000, "height": 320})
    page.evaluate("document.querySelector('.settings').scrollTop = 150")
    table, row = page.locator(".settings").bounding_box(), head.bounding_box()
    assert row["y"] == pytest.approx(table["y"], abs=2)


def test_dark_mode_follows_the_system_and_the_reader(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('.plot').layout.font.color"
    page = opened(color_scheme="dark")
    dark, dark_ink = page.evaluate(ground), page.evaluate(ink)
    page.click("#theme")
    light, light_ink = page.evaluate(ground), page.evaluate(ink)
    assert dark != light and dark_ink != light_ink
    page.keyboard.press("d")
    assert page.evaluate(ground) == dark and page.evaluate(ink) == dark_ink


def test_keys_are_listed(opened):
    page = opened(charts=False)
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    assert page.locator("dialog kbd").count() >= 17
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


@pytest.mark.parametrize("width", [320, 400, 800])
def test_nothing_is_cut_on_narrow_windows(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for plot in page.locator(".plot").all():
        drawn, card = plot.locator(".main-svg").first.bounding_box(), plot.bounding_box()
        assert drawn["width"] <= card["width"] + 1 and card["x"] + card["width"] <= width
        title = plot.locator("xpath=..").locator("h3").bounding_box()
        assert title["y"] + title["height"] <= drawn["y"] + 1
    stage = page.locator("#stage").bounding_box()
    assert stage["x"] >= 0 and stage["x"] + stage["width"] <= width


def test_the_foot_names_what_made_the_page_and_holds_its_table(opened, report):
    page = opened(charts=False)
    assert "Made with salcompress" in page.locator("footer").inner_text()
    with page.expect_download() as caught:
        page.click("text=summary.csv")
    with open(caught.value.path()) as file:
        assert file.read() == (report.parent / "summary.csv").read_text()
