"""Tables within Markdown documents, between markers, so that no figure is copied by hand.

A table called ``ap`` stands between the lines ``<!-- begin ap -->`` and ``<!-- end ap -->``.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from salcompress.errors import DataError
from salcompress.files import read_file, write_atomically

_MARKER = re.compile(r"^<!-- (begin|end) (\S+) -->[ \t]*$", re.MULTILINE)


def tables_in(path: Path) -> dict[str, str]:
    """What stands between the markers of a document, by the name of the table.

    Raises:
        DataError: The document cannot be read, a marker lacks its companion, or a table has two
            places.
    """
    text = read_file(path).decode(errors="replace")
    return {name: text[start:end].strip("\n") for name, (start, end) in _places(text, path).items()}


def renew_tables(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Write tables where a document has their markers; the rest of it stays as it is.

    Args:
        path: The document.
        tables: Markdown by the name of the table. Those without markers here are passed over.

    Returns:
        Names of the tables that have changed.

    Raises:
        DataError: As of :func:`tables_in`.
        OutputError: The document cannot be written.
    """
    text = read_file(path).decode()
    changed = []
    for name, (start, end) in sorted(_places(text, path).items(), key=lambda found: -found[1][0]):
        if name in tables and text[start:end] != f"{tables[name]}\n":
            text = f"{text[:start]}{tables[name]}\n{text[end:]}"
            changed.append(name)
    if changed:
        write_atomically(path, text)
    return changed[::-1]


def _places(text: str, path: Path) -> dict[str, tuple[int, int]]:
    """First and last place of what is between the markers."""
    places: dict[str, tuple[int, int]] = {}
    opened: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        kind, name = marker.groups()
        if kind == "begin":
            if opened is not None:
                raise _lacks_companion(opened, text, path)
            opened = marker
            continue
        if opened is None or opened[2] != name:
            raise _lacks_companion(marker, text, path)
        if name in places:
            raise DataError(f"{path} has two places for the table {name}; remove one of them")
        places[name] = opened.end() + 1, marker.start()
        opened = None
    if opened is not None:
        raise _lacks_companion(opened, text, path)
    return places


def _lacks_companion(marker: re.Match[str], text: str, path: Path) -> DataError:
    line = text.count("\n", 0, marker.start()) + 1
    return DataError(
        f"{path}, line {line}: {marker[0].strip()} lacks its companion; a table stands between "
        f"<!-- begin {marker[2]} --> and <!-- end {marker[2]} -->, and none within another"
    )
