"""One self-contained page: curves, tables and picture strips. No network is needed to read it."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from plotly.offline import get_plotlyjs

from salcompress.data.coco import SYNTHETIC_NAME
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.metrics.bd_rate import MIN_POINTS
from salcompress.reporting.charts import chart
from salcompress.reporting.curves import (
    NO_RESAMPLES,
    common_options,
    curves_of,
    measured_figures,
    measured_rates,
    rate_difference,
    varying_options,
)
from salcompress.reporting.pictures import MIN_SCORE, Strip
from salcompress.reporting.tables import html_table, number

_PAGE = Path(__file__).with_name("page.html")
"""The page's markup, style and notes, with places for ``{script}`` and ``{body}``."""


def render(
    rows: Sequence[RatePoint],
    strips: Sequence[Strip] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
    resamples: Resamples = NO_RESAMPLES,
) -> str:
    """The page as text. Where the images are drawn, not photographs, it says so.

    Args:
        rows: All of one data set and detector.
        strips: Pictures to show.
        skipped: Reason by file name of the images left out.
        resamples: Figures on resampled images, for the intervals of rate differences; see
            :func:`salcompress.evaluation.resamples.read_resamples`.

    Raises:
        SettingError: ``rows`` is empty or mixes data sets or detectors.
    """
    if not rows:
        raise SettingError("a report needs at least one result row")
    if len({(row.dataset, row.detector) for row in rows}) > 1:
        raise SettingError("a report shows one data set and one detector; the rows hold several")
    charts = "".join(chart(rows, figure) for figure in measured_figures(rows))
    parts = [
        *_head(rows),
        _rate_choice(rows),
        f"<section class=charts>{charts}</section>",
        _differences(rows, resamples),
        _settings(rows),
    ]
    if strips:
        parts.append(
            "<section><h2>Pictures</h2><p>The original with its annotated objects, then what the "
            f"detector found (score of at least {MIN_SCORE:g}) in each decoded picture. bpp and "
            "PSNR are this image's own.</p>"
            + "".join(_strip(strip, rows) for strip in strips)
            + "</section>"
        )
    if skipped:
        parts.append(_left_out(skipped))
    page = _PAGE.read_text(encoding="utf-8").replace("{script}", get_plotlyjs())
    # a name of a file that is not UTF-8 has lone surrogates, which no page can hold
    body = "\n".join(parts).encode("utf-8", "backslashreplace").decode("utf-8")
    return page.replace("{body}", body)


def _head(rows: Sequence[RatePoint]) -> list[str]:
    """Title, and what a reader must know before the figures."""
    first = rows[0]
    counts = sorted({row.num_images for row in rows})
    images = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    parts = [
        "<header><h1>What compression costs the detector</h1>"
        f"<p><b>{html.escape(first.detector)}</b> on <b>{html.escape(first.dataset)}</b>, "
        f"{images} images, {len(rows)} settings</p></header>"
    ]
    if first.dataset.startswith(SYNTHETIC_NAME):
        parts.append(
            "<p class=notice><b>Synthetic scenes.</b> The images are drawn by a program and the "
            "detector was trained on such drawings. The figures show that the tool works; they say "
            "nothing about photographs.</p>"
        )
    if len(counts) > 1:
        parts.append(
            "<p class=notice>The settings were measured on different numbers of images (see the "
            "table), so rows are not strictly comparable. Evaluate all of them again to have them "
            "on the same images.</p>"
        )
    return parts


def _rate_choice(rows: Sequence[RatePoint]) -> str:
    """A choice of the charts' axis; nothing where there is one rate alone."""
    rates = measured_rates(rows)
    if len(rates) < 2:
        return ""
    inputs = " ".join(
        f"<label><input type=radio name=rate value={rate.name}{' checked' * (k == 0)}> "
        f"{rate.choice}</label>"
        for k, rate in enumerate(rates)
    )
    return f"<fieldset class=rates><legend>Bits over</legend>{inputs}</fieldset>"


def _differences(rows: Sequence[RatePoint], resamples: Resamples) -> str:
    """Rate of each codec against the first one that has enough points, at equal quality."""
    by_codec = curves_of(rows)
    enough = [name for name, points in by_codec.items() if len(points) >= MIN_POINTS]
    heading = "<section><h2>Rate difference at equal quality</h2>"
    if len(enough) < 2:
        return (
            f"{heading}<p>A BD-rate needs two codecs with at least {MIN_POINTS} settings each; "
            f"this run has {len(enough)}.</p></section>"
        )
    anchor = enough[0]
    figures = measured_figures(rows)
    lines = [
        [
            f"<b>{html.escape(name)}</b>",
            *(_difference(by_codec[anchor], by_codec[name], f.name, resamples) for f in figures),
        ]
        for name in enough[1:]
    ]
    return (
        f"{heading}<p>Bits of each codec against <b>{html.escape(anchor)}</b>, averaged over the "
        "qualities that both reach (in brackets). Negative means fewer bits.</p>"
        + html_table(["codec", *(figure.title for figure in figures)], lines)
        + "</section>"
    )


def _difference(
    anchor: Sequence[RatePoint], test: Sequence[RatePoint], name: str, resamples: Resamples
) -> str:
    """A cell of the table of rate differences."""
    try:
        found = rate_difference(anchor, test, name, resamples)
    except SettingError as error:
        few = "usable points" in str(error)
        short = f"under {MIN_POINTS} points" if few else "no common quality"
        return f"<span class=missing title='{html.escape(str(error), quote=True)}'>{short}</span>"
    digits = {"psnr": 1, "ms_ssim": 3, "perceptual": 3}.get(name, 1)
    kind = "better" if found.percent < 0 else "worse"
    sure = ""
    if found.interval is not None:
        low, high = found.interval
        sure = f" <small title='95 % interval over images'>({low:+.1f} to {high:+.1f})</small>"
    return (
        f"<span class={kind}>{found.percent:+.1f} %</span>{sure} "
        f"<small>[{found.low:.{digits}f}, {found.high:.{digits}f}]</small>"
    )


def _settings(rows: Sequence[RatePoint]) -> str:
    """The table of all rows."""
    with_masks = any(row.mask for row in rows)
    with_places = any(row.object_bits is not None for row in rows)
    with_seen = any(row.bpp_detector is not None for row in rows)
    titles = ["codec", "setting", "images", "bpp", "mean bpp"]
    titles += [*(["detector bpp"] if with_seen else []), "box AP", "AP50", "APs", "APm"]
    titles += ["APl", *(["mask AP"] if with_masks else []), "PSNR dB", "MS-SSIM", "perceptual"]
    titles += [*(["bits on objects (area)"] if with_places else []), "encode ms", "decode ms"]
    lines = []
    for row in rows:
        box = row.box or {}
        lines.append(
            [
                f"<b>{html.escape(row.codec)}</b>",
                html.escape(varying_options(row, rows)),
                str(row.num_images),
                _measured(row, "bpp", 3),
                _number(row.bpp_mean, 3),
                *([_measured(row, "bpp_detector", 3)] if with_seen else []),
                _measured(row, "box_AP", 1),
                *(_number(box.get(k), 1) for k in ("AP50", "APs", "APm", "APl")),
                *([_measured(row, "mask_AP", 1)] if with_masks else []),
                _number(row.psnr, 2),
                _number(row.ms_ssim, 4),
                _measured(row, "perceptual", 3),
                *([_object_share(row)] if with_places else []),
                *(_number(s and s * 1000, 1) for s in (row.encode_s, row.decode_s)),
            ]
        )
    fixed = {row.codec: common for row in rows if (common := common_options(row, rows))}
    note = "; ".join(f"{name}: {', '.join(options)}" for name, options in fixed.items())
    shared = f"<p class=fixed>The same in all rows of a codec: {html.escape(note)}.</p>"
    return (
        "<section><h2>Settings</h2>"
        + html_table(titles, lines, "settings")
        + (shared if note else "")
        + "</section>"
    )


def _number(value: float | None, digits: int) -> str:
    return number(value, digits, missing="–")


def _measured(row: RatePoint, name: str, digits: int) -> str:
    """A figure with its 95 % interval."""
    value, interval = row.figure(name), row.ci95.get(name)
    if value is None or not interval:
        return _number(value, digits)
    low, high = interval
    return f"{value:.{digits}f} <small>[{low:.{digits}f}, {high:.{digits}f}]</small>"


def _object_share(row: RatePoint) -> str:
    if row.object_bits is None or row.object_area is None:
        return "–"
    return f"{100 * row.object_bits:.0f} % <small>({100 * row.object_area:.0f} %)</small>"


def _strip(strip: Strip, rows: Sequence[RatePoint]) -> str:
    titles = {row.label: f"{row.codec} {varying_options(row, rows)}".strip() for row in rows}
    tiles = []
    for picture in strip.pictures:
        title = html.escape(titles.get(picture.title, picture.title), quote=True)
        maps = "".join(
            f"<figure><img loading=lazy src='{m.data_uri}' "
            f"alt='{html.escape(m.title, quote=True)}'>"
            f"<figcaption>{html.escape(m.title)}</figcaption></figure>"
            for m in picture.maps
        )
        tiles.append(
            f"<figure><img loading=lazy src='{picture.data_uri}' alt='{title}'>"
            f"<figcaption><b>{title}</b><br>{html.escape(picture.details)}</figcaption>"
            + (f"<div class=maps>{maps}</div>" if maps else "")
            + "</figure>"
        )
    return f"<h3>{html.escape(strip.file_name)}</h3><div class=strip>{''.join(tiles)}</div>"


def _left_out(skipped: Mapping[str, str]) -> str:
    items = "".join(
        f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>"
        for name, why in skipped.items()
    )
    return (
        f"<section><h2>Left out</h2><p>{len(skipped)} image{'s' * (len(skipped) > 1)} could not be "
        "used.</p>"
        f"<ul>{items}</ul></section>"
    )
