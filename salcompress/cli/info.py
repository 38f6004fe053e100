"""``salcompress info``: what streams hold."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from salcompress.cli.arguments import Commands, add_command

if TYPE_CHECKING:
    from salcompress.bitstream.container import Header

_LAST_LEVEL = 63


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands, "info", run, "say what .salc files hold, from their headers alone"
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="STREAM",
        help="streams, and folders of streams; several give one table",
    )


class _Stream(NamedTuple):
    path: Path
    num_bytes: int
    header: "Header"

    @property
    def bpp(self) -> float:
        return 8 * self.num_bytes / (self.header.height * self.header.width)


def run(args: argparse.Namespace) -> None:
    """Print a paragraph for one stream, a table for several."""
    from salcompress.cli.inputs import stream_files
    from salcompress.codecs.stream_files.outcome import Failures, Outcome
    from salcompress.errors import BitstreamError, DataError

    files = stream_files(args.inputs)
    streams, failures = [], Failures("read")
    for file in files:
        try:
            streams.append(_open(file.path))
        except (BitstreamError, DataError) as error:
            if len(files) == 1:
                raise DataError(f"{file.path}: {error}") from error
            failures.add(file.path, error)
    if len(files) == 1:
        print(_paragraph(streams[0]))
    elif streams:
        print(_table(streams))
    failures.raise_if_any(Outcome(streams, []))


def _open(path: Path) -> _Stream:
    from salcompress.bitstream.container import check_length, read_header
    from salcompress.files import read_file

    stream = read_file(path)
    header = read_header(stream)
    check_length(header, len(stream))
    return _Stream(path, len(stream), header)


def _paragraph(stream: _Stream) -> str:
    header = stream.header
    return (
        f"{stream.path}: {header.width}x{header.height} pixels (width x height)\n"
        f"rate {stream.bpp:.4f} bpp: {stream.num_bytes - header.num_bytes} bytes of header, "
        f"{header.num_bytes} of symbols\n"
        f"base level {header.level} of {_LAST_LEVEL} (q = {header.level / _LAST_LEVEL:.3f}), "
        f"quality map: {'none, one level' if header.map_table is None else 'yes'}\n"
        f"model {_model(header)}"
    )


def _model(header: "Header") -> str:
    """The fingerprint of the weights that made a stream, and their name if they have one here."""
    from salcompress.codecs.salient.known_weights import known_weights

    made_by = header.fingerprint
    names = [weights.name for weights in known_weights().values() if weights.fingerprint == made_by]
    return f"{made_by.hex()} ({names[0]})" if names else made_by.hex()


def _table(streams: Sequence[_Stream]) -> str:
    """A line for each stream, and the total."""
    from salcompress.reporting.tables import text_table

    titles = ("stream", "width", "height", "bytes", "bpp", "q", "quality map", "model")
    lines = [
        (
            str(stream.path),
            str(stream.header.width),
            str(stream.header.height),
            str(stream.num_bytes),
            f"{stream.bpp:.4f}",
            f"{stream.header.level / _LAST_LEVEL:.3f}",
            "no" if stream.header.map_table is None else "yes",
            _model(stream.header),
        )
        for stream in streams
    ]
    num_bytes = sum(stream.num_bytes for stream in streams)
    pixels = sum(stream.header.height * stream.header.width for stream in streams)
    return (
        f"{text_table(titles, lines)}\n"
        f"{len(streams)} streams, {num_bytes:,} bytes, {8 * num_bytes / pixels:.4f} bpp pooled"
    )
