"""One self-contained page: curves, tables and picture strips. No network is needed to read it."""

import html
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from salcompress.data.coco import SYNTHETIC_NAME
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.metrics.bd_rate import MIN_POINTS, bd_rate
from salcompress.reporting.pictures import MIN_SCORE, Strip

_FIGURES = (
    ("box_AP", "Box AP", 1),
    ("mask_AP", "Mask AP", 1),
    ("psnr", "PSNR (dB)", 2),
    ("ms_ssim", "MS-SSIM", 4),
    ("perceptual", "Perceptual distance ↓", 3),
)
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


def render(
    rows: Sequence[RatePoint],
    strips: Sequence[Strip] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The page as text. Where the images are drawn, not photographs, it says so.

    Args:
        rows: All of one data set and detector.
        strips: Pictures to show.
        skipped: Reason by file name of the images left out.

    Raises:
        SettingError: ``rows`` is empty or mixes data sets or detectors.
    """
    if not rows:
        raise SettingError("a report needs at least one result row")
    if len({(row.dataset, row.detector) for row in rows}) > 1:
        raise SettingError("a report shows one data set and one detector; the rows hold several")
    first = rows[0]
    counts = sorted({row.num_images for row in rows})
    images = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    parts = [
        "<header><h1>What compression costs the "
        f"detector</h1><p><b>{html.escape(first.detector)}</b> on "
        f"<b>{html.escape(first.dataset)}</b>, {images} images, {len(rows)} settings</p></header>"
    ]
    if first.dataset.startswith(SYNTHETIC_NAME):
        parts.append(
            "<p class=notice><b>Synthetic scenes.</b> The images are drawn by a program and the "
            "detector was trained "
            "on such drawings. The figures show that the tool works; they say nothing about "
            "photographs.</p>"
        )
    if len(counts) > 1:
        parts.append(
            "<p class=notice>The settings were measured on different numbers of images (see the "
            "table): "
            "some images could not be coded by every codec, so rows are not strictly "
            "comparable.</p>"
        )
    charts = [
        _chart(rows, *figure)
        for figure in _FIGURES
        if any(row.figure(figure[0]) is not None for row in rows)
    ]
    parts.append(f"<section class=charts>{''.join(charts)}</section>")
    parts.append(_bd_section(rows))
    parts.append(_settings_section(rows))
    if strips:
        parts.append(
            "<section><h2>Pictures</h2><p>The original with its annotated objects, then what the "
            "detector found "
            f"(score of at least {MIN_SCORE:g}) in each decoded picture. bpp and PSNR are this "
            "image's own.</p>" + "".join(_strip(strip, rows) for strip in strips) + "</section>"
        )
    if skipped:
        items = "".join(
            f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>"
            for name, why in skipped.items()
        )
        parts.append(
            f"<section><h2>Left out</h2><p>{len(skipped)} image{'s' * (len(skipped) > 1)} could "
            "not be used.</p>"
            f"<ul>{items}</ul></section>"
        )
    parts.append(_NOTES)
    return _PAGE.replace("{script}", get_plotlyjs()).replace("{body}", "\n".join(parts))


def curves_of(rows: Sequence[RatePoint]) -> dict[str, list[RatePoint]]:
    """Rows that differ in rate alone, by the name of their curve: the codec, and what tells it from
    its other curves.

    A codec's first option is the one that sets its rate.
    """
    curves: dict[str, list[RatePoint]] = {}
    for row in rows:
        if row.codec != "none":
            of_codec = {tuple(r.setting.split(",")[1:]) for r in rows if r.codec == row.codec}
            shared = set.intersection(*map(set, of_codec))
            own = [option for option in row.setting.split(",")[1:] if option not in shared]
            curves.setdefault(" ".join([row.codec, *([",".join(own)] if own else [])]), []).append(
                row
            )
    return curves


def _colours(rows: Sequence[RatePoint]) -> dict[str, str]:
    return {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(curves_of(rows))}


def _chart(rows: Sequence[RatePoint], name: str, title: str, digits: int) -> str:
    """A figure over rate, one line a codec, the uncompressed level as a dashed line."""
    figure = go.Figure()
    curves = curves_of(rows)
    for codec, colour in _colours(rows).items():
        points = sorted(
            (r for r in curves[codec] if r.figure(name) is not None), key=lambda r: r.bpp
        )
        if not points:
            continue
        values = [r.figure(name) for r in points]
        ends = [r.ci95.get(name) or (v, v) for r, v in zip(points, values)]
        rates = [r.bpp for r in points]
        figure.add_scatter(
            x=rates + rates[::-1],
            y=[high for _, high in ends] + [low for low, _ in ends[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=_transparent(colour),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=codec,
        )
        figure.add_scatter(
            x=rates,
            y=values,
            mode="lines+markers",
            name=codec,
            legendgroup=codec,
            line={"color": colour, "width": 2.5},
            marker={"size": 7},
            customdata=[(r.label, low, high) for r, (low, high) in zip(points, ends)],
            hovertemplate=f"%{{customdata[0]}}<br>%{{x:.3f}} bpp<br>%{{y:.{digits}f}} "
            f"[%{{customdata[1]:.{digits}f}}, %{{customdata[2]:.{digits}f}}]<extra></extra>",
        )
    plain = next((r for r in rows if r.codec == "none" and r.figure(name) is not None), None)
    if plain is not None and name.endswith("_AP"):
        value = plain.figure(name)
        figure.add_hline(
            y=value,
            line={"dash": "dash", "color": "#64748b", "width": 1.5},
            annotation={
                "text": f"uncompressed {value:.{digits}f}",
                "font": {"color": "#64748b", "size": 12},
            },
            annotation_position="top left",
        )
    figure.update_layout(
        title={"text": f"<b>{title}</b>", "font": {"size": 16}, "x": 0.02},
        template="plotly_white",
        height=400,
        margin={"l": 60, "r": 20, "t": 50, "b": 80},
        font={"family": "system-ui, sans-serif", "size": 13},
        xaxis={
            "title": "bits per pixel, pooled",
            "type": "log",
            "dtick": "D2",
            "tickformat": "~g",
            "minorloglabels": "none",
        },
        legend={"orientation": "h", "y": -0.24},
        hovermode="closest",
    )
    config = {"displaylogo": False, "displayModeBar": "hover", "responsive": True}
    return f"<div class=card>{figure.to_html(full_html=False, include_plotlyjs=False, config=config)}</div>"


def _bd_section(rows: Sequence[RatePoint]) -> str:
    """Rate of each codec against the first one that has enough points, at equal quality."""
    by_codec = curves_of(rows)
    enough = [name for name, points in by_codec.items() if len(points) >= MIN_POINTS]
    heading = "<section><h2>Rate difference at equal quality</h2>"
    if len(enough) < 2:
        return (
            heading
            + f"<p>A BD-rate needs two codecs with at least {MIN_POINTS} settings each; this run "
            f"has {len(enough)}.</p></section>"
        )
    anchor = enough[0]
    measured = [f for f in _FIGURES if any(r.figure(f[0]) is not None for r in rows)]
    lines = []
    for name in enough[1:]:
        cells = "".join(
            f"<td>{_bd_cell(by_codec[anchor], by_codec[name], figure)}</td>"
            for figure, _, _ in measured
        )
        lines.append(f"<tr><td><b>{html.escape(name)}</b></td>{cells}</tr>")
    titles = "".join(f"<th>{title}</th>" for _, title, _ in measured)
    return (
        heading + f"<p>Bits of each codec against <b>{html.escape(anchor)}</b>, averaged over the "
        "qualities that both reach "
        "(in brackets). Negative means fewer bits.</p><div "
        "class=scroll><table><thead><tr><th>codec</th>"
        f"{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _bd_cell(anchor: Sequence[RatePoint], test: Sequence[RatePoint], name: str) -> str:
    curves = [
        [(r.bpp, _quality(name, r.figure(name))) for r in points if r.figure(name) is not None]
        for points in (anchor, test)
    ]
    try:
        found = bd_rate(
            *(list(values) for curve in curves for values in (zip(*curve) if curve else ([], [])))
        )
    except SettingError as error:
        short = (
            f"under {MIN_POINTS} points" if "usable points" in str(error) else "no common quality"
        )
        return f"<span class=missing title='{html.escape(str(error), quote=True)}'>{short}</span>"
    digits = {"psnr": 1, "ms_ssim": 3, "perceptual": 3}.get(name, 1)
    kind = "better" if found.percent < 0 else "worse"
    ends = sorted(_quality(name, end, back=True) for end in (found.low, found.high))
    return f"<span class={kind}>{found.percent:+.1f} %</span> <small>[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]</small>"


def _quality(name: str, value: float, back: bool = False) -> float:
    """A figure as a quality that rises: of the perceptual distance, minus its logarithm; or the
    figure again.
    """
    if name != "perceptual":
        return value
    return 10**-value if back else -math.log10(max(value, 1e-6))


def _settings_section(rows: Sequence[RatePoint]) -> str:
    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    def measured(row: RatePoint, name: str, digits: int) -> str:
        value, interval = row.figure(name), row.ci95.get(name)
        if value is None or not interval:
            return number(value, digits)
        return f"{value:.{digits}f} <small>[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]</small>"

    with_masks = any(row.mask for row in rows)
    with_places = any(row.object_bits is not None for row in rows)
    titles = [
        "codec",
        "setting",
        "images",
        "bpp",
        "mean bpp",
        "box AP",
        "AP50",
        "APs",
        "APm",
        "APl",
        *(["mask AP"] if with_masks else []),
        "PSNR dB",
        "MS-SSIM",
        "perceptual",
        *(["bits on objects (area)"] if with_places else []),
        "encode ms",
        "decode ms",
    ]
    lines = []
    for row in rows:
        box = row.box or {}
        cells = [
            f"<b>{html.escape(row.codec)}</b>",
            html.escape(varying_options(row, rows)),
            str(row.num_images),
            measured(row, "bpp", 3),
            number(row.bpp_mean, 3),
            measured(row, "box_AP", 1),
            *(number(box.get(k), 1) for k in ("AP50", "APs", "APm", "APl")),
            *([measured(row, "mask_AP", 1)] if with_masks else []),
            number(row.psnr, 2),
            number(row.ms_ssim, 4),
            number(row.perceptual, 3),
            *([_object_share(row)] if with_places else []),
            number(row.encode_s and row.encode_s * 1000, 1),
            number(row.decode_s and row.decode_s * 1000, 1),
        ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{title}</th>" for title in titles)
    fixed = {row.codec: common for row in rows if (common := _common_options(row, rows))}
    note = "; ".join(f"{name}: {', '.join(options)}" for name, options in fixed.items())
    return (
        "<section><h2>Settings</h2><div class='scroll "
        f"settings'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        + (
            f"<p class=fixed>The same in all rows of a codec: {html.escape(note)}.</p>"
            if note
            else ""
        )
        + "</section>"
    )


def _object_share(row: RatePoint) -> str:
    if row.object_bits is None:
        return "–"
    return f"{100 * row.object_bits:.0f} % <small>({100 * row.object_area:.0f} %)</small>"


def varying_options(row: RatePoint, rows: Sequence[RatePoint]) -> str:
    """The options of a row that tell it from the other rows of its codec: ``q=30``."""
    common = _common_options(row, rows)
    return ",".join(option for option in row.setting.split(",") if option not in common)


def _common_options(row: RatePoint, rows: Sequence[RatePoint]) -> list[str]:
    """Options with one value in all rows of a codec, but for its first, which names the rate."""
    settings = [r.setting.split(",") for r in rows if r.codec == row.codec]
    return [option for option in settings[0][1:] if all(option in setting for setting in settings)]


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


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.13)"


_NOTES = """<section class=notes><h2>How to read this</h2><ul>
<li><b>bpp</b> is pooled: bits of all whole files, headers included, over pixels of all original images. Mean bpp averages the images.</li>
<li><b>AP</b> is COCO's (pycocotools), times 100; the detector sees each decoded picture rounded to 8 bits.</li>
<li><b>Brackets and bands</b> are 95 % bootstrap intervals over the images. Two settings are measured on the same images, so their
difference is surer than the bands suggest.</li>
<li><b>PSNR and MS-SSIM</b> are over RGB, averaged over images; a dash was not measured, or is infinite (an exact copy).</li>
<li><b>Perceptual distance</b> (lower is better) is that of a learned metric, trained on compression artefacts labelled by published metrics, not by people;
0 for exact copies, about 1 for JPEG at q=3. Its BD-rate goes by the distance's logarithm.</li>
<li><b>BD-rate</b> interpolates log rate over quality (PCHIP) on each curve's hull, and averages over the interval in brackets.</li>
<li><b>Bits on objects</b>, for the learned codec: by the coder's own counts, place by place, headers left out; objects are the union
of annotated masks, or boxes. Beside its pictures: the saliency that steered the encoder, the quality in the stream, and where the bits went.</li>
<li><b>Seconds</b> were taken while other work ran on the machine; compare codecs with <code>salcompress bench</code>.</li>
</ul></section>"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>salcompress: what compression costs the detector</title>
<style>
:root { color-scheme: light; --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #f8fafc;
  margin: 0 auto; padding: 28px 24px 48px; max-width: 1320px; }
header { margin-bottom: 18px; }
h1 { font-size: 27px; letter-spacing: -0.02em; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 6px; }
h3 { font-size: 14px; font-weight: 600; color: var(--soft); margin: 18px 0 6px; }
header p, section > p { color: var(--soft); margin: 0 0 12px; }
header b { color: var(--ink); }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px; margin: 18px 0; }
section.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 18px;
  background: none; border: 0; padding: 0; }
@media (max-width: 900px) { section.charts { grid-template-columns: minmax(0, 1fr); } }
.card { background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 8px; min-width: 0; }
.notice { background: #fffbeb; border: 1px solid #fde68a; border-radius: 10px; padding: 10px 14px; margin: 0 0 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th { text-align: right; color: var(--soft); font-weight: 600; font-size: 12px; padding: 6px 7px; border-bottom: 2px solid var(--line);
  white-space: nowrap; }
td { text-align: right; padding: 6px 7px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.settings th:nth-child(2), .settings td:nth-child(2) { text-align: left; }
tbody tr:last-child td { border-bottom: 0; }
small, .missing { color: var(--soft); }
small { font-size: 11px; }
.better { color: #047857; font-weight: 600; }
.worse { color: #b91c1c; font-weight: 600; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 12px; }
figure { margin: 0; }
figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { font-size: 12px; color: var(--soft); margin-top: 4px; line-height: 1.4; overflow-wrap: anywhere; }
.maps { display: grid; grid-template-columns: repeat(3, 1fr); gap: 5px; margin-top: 5px; }
.maps figcaption { font-size: 10px; line-height: 1.25; margin-top: 2px; }
figcaption b { color: var(--ink); }
code { background: #f1f5f9; border-radius: 4px; padding: 1px 4px; }
section > p.fixed { margin: 10px 0 0; font-size: 13px; }
.notes { font-size: 14px; } .notes ul { margin: 0; padding-left: 18px; }
</style>
<script>{script}</script>
</head><body>
{body}
</body></html>
"""
