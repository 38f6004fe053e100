"""The table of commands, and how a command ends: its exit code, and its error in one line."""

import contextlib
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence

from salcompress import __version__
from salcompress.cli import (
    bench,
    codecs,
    compress,
    decode,
    demo,
    encode,
    evaluate,
    info,
    metric_eval,
    report,
    saliency,
    verify,
)
from salcompress.cli.arguments import Parser
from salcompress.errors import SalcompressError, SettingError

COMMANDS = (
    demo,
    encode,
    decode,
    info,
    codecs,
    saliency,
    compress,
    verify,
    evaluate,
    report,
    metric_eval,
    bench,
)
"""Modules of the commands, in the order of ``salcompress --help``."""
_INSTALL = {
    "detectron2": "Detectron2, which is not installed; "
    "https://detectron2.readthedocs.io/en/latest/tutorials/install.html says how to install it",
    "ray": "Ray, which is not installed; install it with: pip install 'salcompress[ray]'",
}
"""What is optional, by the name that is imported, and how to get it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows ``salcompress`` in a shell; those of this process if None.

    Returns:
        0 for success, 1 for a fault of data or machine, 2 for one of the call, 130 for an
        interruption.
    """
    words = sys.argv[1:] if arguments is None else arguments
    args = Namespace(goes_on="", command_line=shlex.join(["salcompress", *words]))
    warnings.formatwarning = _one_line
    try:
        with errors_in_one_line("salcompress"):
            _parser().parse_args(arguments, args)
            args.run(args)
        return 0
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        goes_on = f"; {args.goes_on}" if args.goes_on else ""
        print(f"salcompress: interrupted{goes_on}", file=sys.stderr)
        return 130


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    """A warning without the line of code that it comes from."""
    return f"salcompress: {' '.join(str(message).split())}\n"


@contextlib.contextmanager
def errors_in_one_line(program: str) -> Iterator[None]:
    """Within it, an error that the package raises on purpose becomes one line on stderr.

    The process then exits with 2 for a fault of the call, and with 1 for any other. An optional
    package that is missing is a fault of the call, and the line says how to install it.
    """
    try:
        yield
    except SalcompressError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingError) else 1)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _INSTALL:
            raise
        print(f"{program}: this needs {_INSTALL[missing]}", file=sys.stderr)
        sys.exit(2)


def _parser() -> Parser:
    parser = Parser(
        prog="salcompress",
        description="What compression costs a detector: average precision against bits per pixel.",
        epilog="salcompress COMMAND --help says what a command takes.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
