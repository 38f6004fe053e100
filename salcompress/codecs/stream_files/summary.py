"""``summary.csv``: a row for each stream of a folder, written as the streams are."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TextIO

from salcompress.errors import DataError, OutputError
from salcompress.files import read_file, write_atomically


class EncodedFile(NamedTuple):
    """One row of the summary."""

    file: str
    """Path of the image file, as it was given."""
    stream: str
    """Path of its stream below the folder of the summary, with forward slashes."""
    height: int
    width: int
    num_bytes: int
    """Length of the stream, headers included."""
    bpp: float
    """Bits of the stream per pixel of the image."""
    setting: str
    """Codec and setting. After a search for a target it is what the search chose."""
    encode_s: float
    """Seconds that encoding took, without reading, writing and a search for a target."""
    source_bytes: int
    """Length of the image file."""
    source_digest: str
    """Digest of the image file's content."""
    recipe: str
    """Digest of what made the stream of the image: codec, weights, target and saliency map."""


class Summary:
    """Rows of a folder's streams, on disk as soon as they are added.

    A process that is killed leaves the rows of what it did. Rows of other streams in the folder
    stay, as long as those streams are there.

    Args:
        folder: Where the streams lie, and ``summary.csv``.
        order: Names of this call's streams. Their rows get this order in the end.

    Raises:
        DataError: An older ``summary.csv`` is damaged.
        OutputError: The file cannot be written.
    """

    def __init__(self, folder: Path, order: Iterable[str]):
        self._path = folder / "summary.csv"
        self._order = list(order)
        self.rows = {
            stream: row
            for stream, row in read_summary(folder).items()
            if (folder / stream).is_file()
        }
        self._file: TextIO | None = None

    def __enter__(self) -> "Summary":
        self._write_all()
        try:
            self._file = open(
                self._path, "a", encoding="utf-8", errors="surrogateescape", newline=""
            )
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._write_all()

    def add(self, row: EncodedFile) -> None:
        """Keep a row, in place of an older one of the same stream.

        Raises:
            OutputError: The disk is full.
        """
        assert self._file is not None, "rows are added within the context"
        self.rows[row.stream] = row
        try:
            self._file.write(_to_csv([row]))
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}; make room, and run the same "
                "command with --resume to go on"
            ) from error

    def _write_all(self) -> None:
        others = sorted(self.rows.keys() - set(self._order))
        names = [*(name for name in self._order if name in self.rows), *others]
        text = _to_csv([EncodedFile._fields, *(self.rows[name] for name in names)])
        write_atomically(self._path, text.encode("utf-8", "surrogateescape"))


def read_summary(folder: Path) -> dict[str, EncodedFile]:
    """Rows of a folder's ``summary.csv``, by stream. Without such a file there are none.

    A last row that a kill cut short does not count. Of several rows of a stream the last one
    counts.

    Raises:
        DataError: The file is damaged, or of another version.
    """
    path = folder / "summary.csv"
    if not path.is_file():
        return {}
    text = read_file(path).decode("utf-8", "surrogateescape")
    header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    cure = f"delete {path}, and run the command with --overwrite"
    if tuple(header) != EncodedFile._fields:
        raise DataError(f"{path} is no summary of this version; {cure}")
    if lines and not text.endswith("\n"):
        lines.pop()
    rows = {}
    for number, line in enumerate(lines):
        try:
            row = EncodedFile(*(kind(cell) for kind, cell in zip(_KINDS, line, strict=True)))
        except ValueError as error:
            if number == len(lines) - 1:
                break  # cut within a cell that holds a line break
            raise DataError(f"{path} is damaged in row {number + 2}; {cure}") from error
        rows[row.stream] = row
    return rows


_KINDS = tuple(EncodedFile.__annotations__[name] for name in EncodedFile._fields)


def _to_csv(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
