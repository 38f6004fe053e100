"""``salcompress codecs``: every codec, its options, their ranges and defaults."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from salcompress.cli.arguments import Commands, add_command

if TYPE_CHECKING:
    from salcompress.codecs import Codec, OptionRow


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    add_command(
        commands,
        "codecs",
        run,
        "list every codec's options with their ranges and defaults",
        example="jpeg:q=10,30,50,subsampling=444 gives JPEG at three qualities without chroma "
        "subsampling, for --codec of evaluate",
    )


def run(args: argparse.Namespace) -> None:
    """Print a paragraph for each codec."""
    from salcompress.codecs import CODECS, option_table

    print(
        "A codec is written name:option=value,option=value. Options that are not given take their "
        "defaults.\nWhere several settings are allowed, q=10,30,50 gives three."
    )
    rows = option_table()
    for name, codec in CODECS.items():
        print(f"\n{describe(codec, [row for row in rows if row.codec == name and row.option])}")


def describe(codec: type["Codec"], options: Sequence["OptionRow"]) -> str:
    """A codec class in lines: name, first sentence of the docstring, and each option."""
    import inspect
    import re
    import textwrap

    text = " ".join((inspect.getdoc(codec) or "").replace("``", "").split())
    first = re.split(r"(?<=\.) (?=[A-Z])", text)[0]
    lines = [codec.name, *textwrap.wrap(first, 96, initial_indent="  ", subsequent_indent="  ")]
    cells = [
        (row.option, row.meaning, row.valid, f"default {row.default}" if row.default else "")
        for row in options
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        padded = "  ".join(text.ljust(width) for text, width in zip(line, widths))
        lines.append(f"    {padded.rstrip()}")
    return "\n".join(lines)
