"""What the arguments of all commands have in common: their parser, and the kinds of values."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from salcompress.errors import SettingError

CODECS_HELP = "salcompress codecs lists all codecs and their options"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the package: one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print below the usage.

        Raises:
            SettingError: Always. Its message points to the help where it has no cure of its own.
        """
        cure = "" if ";" in message else f"; {self.prog} --help says what is possible"
        raise SettingError(message + cure)


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    *,
    goes_on: str = "",
    example: str = "",
) -> Parser:
    """A new command.

    Args:
        commands: The table that it joins.
        name: What follows ``salcompress`` in a shell.
        run: What the command does with its parsed arguments.
        summary: One clause, which ``salcompress --help`` shows.
        goes_on: What a user who interrupted the command can do to go on.
        example: A call that ``--help`` shows at its end.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"Example: {example}" if example else None,
    )
    parser.set_defaults(run=run, goes_on=goes_on)
    return parser


def positive_integer(text: str) -> int:
    """Converter to an integer of at least 1."""
    return _integer(text, 1)


def count(text: str) -> int:
    """Converter to an integer of at least 0."""
    return _integer(text, 0)


def positive_number(text: str) -> float:
    """Converter to a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"it must be a number above 0, got {text!r}")
    return number


def output_folder(text: str) -> Path:
    """Converter to a folder that exists, or that nothing known now keeps from being made."""
    path = Path(text)
    nearest = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        said = f"{path} is" if nearest == path else f"{path} lies below {nearest}, which is"
        raise argparse.ArgumentTypeError(
            f"{said} a file, and a folder is wanted; choose another name"
        )
    return path


def existing_folder(text: str) -> Path:
    """Converter to a folder that is to be read."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{path} is a file, and a folder is wanted"
            if path.exists()
            else f"folder {path} does not exist"
        )
    return path


def add_workers(parser: argparse.ArgumentParser, default: int, meaning: str) -> None:
    """The option ``--workers``."""
    parser.add_argument(
        "--workers",
        type=count,
        default=default,
        metavar="N",
        help=f"{meaning} (default: {default}); 0 does all in one process",
    )


def add_ray(parser: argparse.ArgumentParser, does: str, reaches: str) -> None:
    """The option ``--ray``.

    Args:
        does: What the cluster does.
        reaches: Options of what every node must reach.
    """
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"let a Ray cluster {does}, in place of --workers: local starts one on this machine, "
        f"auto joins the one that runs here, HOST:PORT another; every node must reach {reaches}",
    )


def check_ray(args: argparse.Namespace, default_workers: int) -> None:
    """Raise where both a cluster and worker processes are asked for.

    Raises:
        SettingError: They are.
    """
    if args.ray is not None and args.workers != default_workers:
        raise SettingError("--ray and --workers are two ways to the same end; give one of them")


def leave_cores_to_workers(workers: int) -> None:
    """Give this process the cores that its workers leave.

    Two busy processes with a thread a core each slow each other down several times over. The
    libraries read this variable when they are imported, so this must come before torch. A user's
    own setting stands.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - workers)))


def _integer(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"it must be an integer of at least {least}, got {text!r}")
    return number
