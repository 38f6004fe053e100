"""``salcompress codecs``: every codec, its options, their ranges and defaults."""

import argparse
from typing import TYPE_CHECKING

from salcompress.cli.arguments import Commands, add_command

if TYPE_CHECKING:
    from salcompress.codecs.base import Codec, Option


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
    from salcompress.codecs import CODECS

    print(
        "A codec is written name:option=value,option=value. Options that are not given take their "
        "defaults.\nWhere several settings are allowed, q=10,30,50 gives three."
    )
    for codec in CODECS.values():
        print(f"\n{describe(codec)}")


def describe(codec: type["Codec"]) -> str:
    """A codec class in lines: name, first sentence of the docstring, and each option."""
    import inspect
    import re
    import textwrap

    text = " ".join((inspect.getdoc(codec) or "").replace("``", "").split())
    first = re.split(r"(?<=\.) (?=[A-Z])", text)[0]
    lines = [codec.name, *textwrap.wrap(first, 96, initial_indent="  ", subsequent_indent="  ")]
    rows = [
        (key, option.meaning, valid_values(option), _default(option))
        for key, option in codec.OPTIONS.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths)]
        lines.append("    " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def valid_values(option: "Option") -> str:
    """What an option takes, in the words of its converter's error. Empty where any text is taken.

    >>> from salcompress.codecs import CODECS
    >>> valid_values(CODECS["jpeg"].OPTIONS["q"])
    'an integer from 1 to 100'
    """
    try:
        option.convert("not a value of any option")
    except ValueError as error:
        return str(error)
    return ""


def _default(option: "Option") -> str:
    return "" if option.default is None else f"default {option.default}"
