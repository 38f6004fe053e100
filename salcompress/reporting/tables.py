"""Tables as text: in Markdown, for a terminal, and in a page."""

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

from salcompress.evaluation.rate_point import RatePoint

Cells = Sequence[str]
"""The text of one line of a table."""


def markdown_table(titles: Cells, lines: Sequence[Cells]) -> str:
    r"""A table in Markdown.

    >>> print(markdown_table(["codec", "bpp"], [["jpeg", "0.5"]]))
    | codec | bpp |
    | --- | --- |
    | jpeg | 0.5 |
    """
    return "\n".join(map(markdown_line, (titles, ["---"] * len(titles), *lines)))


def markdown_line(cells: Cells) -> str:
    r"""One line of :func:`markdown_table`, for tables that are printed as they grow.

    >>> markdown_line(["a|b", "0.5"])
    '| a\\|b | 0.5 |'
    """
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def text_table(titles: Cells, lines: Sequence[Cells]) -> str:
    """A table for a terminal: the first column starts at the left, the others end at the right.

    >>> print(text_table(["codec", "bpp"], [["jpeg:q=30", "0.5"]]))
    codec      bpp
    jpeg:q=30  0.5
    """
    widths = [max(map(len, column)) for column in zip(titles, *lines)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in (titles, *lines)
    )


class Cell(NamedTuple):
    """A cell of a table of a page."""

    html: str
    """What it shows. Text from outside must be escaped already."""
    value: float | str | None = None
    """What its column is sorted by; None comes last."""


def html_table(
    titles: Cells, lines: Sequence[Sequence[Cell]], style: str = "", sortable: bool = False
) -> str:
    """A table of a page; it scrolls where the window is narrow.

    Args:
        titles: HTML of the heads.
        lines: The cells of each line.
        style: Further classes of the box around the table.
        sortable: The heads are buttons, with which ``page/tables.js`` sorts.
    """
    heads = [f"<button type=button>{title}</button>" for title in titles] if sortable else titles
    head = "".join(f"<th scope=col>{title}</th>" for title in heads)
    body = "".join("<tr>" + "".join(map(_cell, line)) + "</tr>" for line in lines)
    return (
        f"<div class='{f'scroll {style}'.strip()}' tabindex=0 role=region aria-label=Table>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return f"<td>{cell.html}</td>"
    return f"<td data-value='{html.escape(str(cell.value), quote=True)}'>{cell.html}</td>"


def number(value: float | None, digits: int, missing: str = "-") -> str:
    """A figure with so many decimals; ``missing`` if it was not measured."""
    return missing if value is None else f"{value:.{digits}f}"


def results_table(rows: Sequence[RatePoint]) -> str:
    """Result rows as text for a terminal; ``-`` was not measured. The columns of bits on objects
    and of bits per pixel that the detector saw show where some row has them.
    """
    columns: dict[str, Callable[[RatePoint], str]] = {
        "codec": lambda r: r.label,
        "images": lambda r: str(r.num_images),
        "bpp": lambda r: number(r.bpp, 3),
        "mean bpp": lambda r: number(r.bpp_mean, 3),
        "detector bpp": lambda r: number(r.bpp_detector, 3),
        "box AP": lambda r: _with_interval(r, "box_AP"),
        "AP50": lambda r: number(r.box["AP50"] if r.box else None, 1),
        "mask AP": lambda r: _with_interval(r, "mask_AP"),
        "PSNR dB": lambda r: number(r.psnr, 2),
        "MS-SSIM": lambda r: number(r.ms_ssim, 4),
        "perceptual": lambda r: number(r.perceptual, 3),
        "% bits on objects": lambda r: number(_times(r.object_bits, 100), 1),
        "encode ms": lambda r: number(_times(r.encode_s, 1000), 1),
        "decode ms": lambda r: number(_times(r.decode_s, 1000), 1),
    }
    if all(row.object_bits is None for row in rows):
        del columns["% bits on objects"]
    if all(row.bpp_detector is None for row in rows):
        del columns["detector bpp"]
    if len({row.num_images for row in rows}) == 1:
        del columns["images"]  # said above the table
    return text_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _with_interval(row: RatePoint, name: str) -> str:
    value, interval = row.figure(name), row.ci95.get(name)
    if value is None or not interval:
        return number(value, 1)
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"
