"""The table of all rows, which can be sorted by each of its columns."""

import html
from collections.abc import Callable, Sequence

from salcompress.evaluation.rate_point import RatePoint
from salcompress.reporting.chart_data import looks_of
from salcompress.reporting.curves import common_options, curves_of, varying_options
from salcompress.reporting.palette import mark
from salcompress.reporting.tables import Cell, html_table, number

_MISSING = "–"


def settings_html(rows: Sequence[RatePoint]) -> str:
    """The table as a section of the page."""
    columns = _columns(rows)
    lines = [[cell(row) for cell in columns.values()] for row in rows]
    fixed = {row.codec: common for row in rows if (common := common_options(row, rows))}
    note = "; ".join(f"{name}: {', '.join(options)}" for name, options in fixed.items())
    shared = f"<p class=fixed>The same in all rows of a codec: {html.escape(note)}.</p>"
    return (
        "<section id=settings><h2>Settings</h2><p>A click on a title sorts by it.</p>"
        + html_table(list(columns), lines, "settings", sortable=True)
        + (shared if note else "")
        + "</section>"
    )


def _columns(rows: Sequence[RatePoint]) -> dict[str, Callable[[RatePoint], Cell]]:
    """The cells of a row, by the titles of their columns."""
    looks = looks_of(rows)
    names = {row.fingerprint: name for name, members in curves_of(rows).items() for row in members}

    def codec(row: RatePoint) -> Cell:
        curve = names.get(row.fingerprint)
        drawn = "" if curve is None else mark(looks[curve])
        return Cell(f"{drawn}<b>{html.escape(row.codec)}</b>", row.codec)

    def box(name: str) -> Callable[[RatePoint], Cell]:
        return lambda row: _plain((row.box or {}).get(name), 1)

    columns: dict[str, Callable[[RatePoint], Cell]] = {
        "codec": codec,
        "setting": lambda r: Cell(html.escape(varying_options(r, rows)), r.label),
        "images": lambda r: Cell(str(r.num_images), r.num_images),
        "bpp": lambda r: _measured(r, "bpp", 3),
        "mean bpp": lambda r: _plain(r.bpp_mean, 3),
        "detector bpp": lambda r: _measured(r, "bpp_detector", 3),
        "box AP": lambda r: _measured(r, "box_AP", 1),
        **{name: box(name) for name in ("AP50", "APs", "APm", "APl")},
        "mask AP": lambda r: _measured(r, "mask_AP", 1),
        "PSNR dB": lambda r: _plain(r.psnr, 2),
        "MS-SSIM": lambda r: _plain(r.ms_ssim, 4),
        "perceptual": lambda r: _measured(r, "perceptual", 3),
        "bits on objects (area)": _object_share,
        "encode ms": lambda r: _plain(r.encode_s and r.encode_s * 1000, 1),
        "decode ms": lambda r: _plain(r.decode_s and r.decode_s * 1000, 1),
    }
    if all(row.bpp_detector is None for row in rows):
        del columns["detector bpp"]
    if not any(row.mask for row in rows):
        del columns["mask AP"]
    if all(row.object_bits is None for row in rows):
        del columns["bits on objects (area)"]
    if len({row.num_images for row in rows}) == 1:
        del columns["images"]  # said above
    return columns


def _plain(value: float | None, digits: int) -> Cell:
    return Cell(number(value, digits, missing=_MISSING), value)


def _measured(row: RatePoint, name: str, digits: int) -> Cell:
    """A figure with its 95 % interval."""
    value, interval = row.figure(name), row.ci95.get(name)
    if value is None or not interval:
        return _plain(value, digits)
    low, high = interval
    return Cell(f"{value:.{digits}f} <small>[{low:.{digits}f}, {high:.{digits}f}]</small>", value)


def _object_share(row: RatePoint) -> Cell:
    if row.object_bits is None or row.object_area is None:
        return Cell(_MISSING)
    shown = f"{100 * row.object_bits:.0f} % <small>({100 * row.object_area:.0f} %)</small>"
    return Cell(shown, row.object_bits)
