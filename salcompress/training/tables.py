"""Tables of figures, as Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown.

    >>> print(markdown_table(["codec", "bpp"], [["jpeg", "0.31"]]))
    | codec | bpp |
    | --- | --- |
    | jpeg | 0.31 |
    """
    return "\n".join(map(markdown_line, (titles, ["---"] * len(titles), *lines)))


def markdown_line(cells: Sequence[str]) -> str:
    """Write one line of a table that is printed as its figures come."""
    return f"| {' | '.join(cells)} |"
