"""Tables of figures, as Markdown."""

from collections.abc import Iterable, Sequence


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown.

    >>> print(format_table(["codec", "bpp"], [["jpeg", "0.31"]]))
    | codec | bpp |
    | --- | --- |
    | jpeg | 0.31 |
    """
    return "\n".join(map(format_row, (header, ["---"] * len(header), *rows)))


def format_row(cells: Sequence[str]) -> str:
    """Write one row, for a table that is printed as its figures come."""
    return f"| {' | '.join(cells)} |"
