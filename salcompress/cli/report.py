"""``salcompress report``: the page of an evaluation."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import Commands, add_command


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(commands, "report", run, "make the page of an evaluation again")
    parser.add_argument("out", type=Path, metavar="DIR", help="an --out folder of evaluate")


def run(args: argparse.Namespace) -> None:
    """Write the page and print where it is."""
    print(write_report(args.out)[0])


def write_report(folder: Path) -> tuple[Path, dict[str, str]]:
    """Write the page of an evaluation's folder.

    Returns:
        The page's file, and why images were left out, by file name.

    Raises:
        SettingError: The folder holds no finished evaluation.
        DataError: A file of it is damaged.
        OutputError: The page cannot be written.
    """
    import json

    from salcompress.errors import DataError, SettingError
    from salcompress.evaluation.rate_point import read_jsonl
    from salcompress.evaluation.resamples import read_resamples
    from salcompress.files import read_file, write_atomically
    from salcompress.reporting.html import render
    from salcompress.reporting.pictures import load_strips

    if not (folder / "results.jsonl").is_file():
        raise SettingError(
            f"{folder} holds no finished evaluation; make one with salcompress evaluate --out "
            f"{folder}"
        )
    rows = read_jsonl(folder / "results.jsonl")
    try:
        skipped = json.loads(read_file(folder / "skipped.json"))
    except ValueError as error:
        raise DataError(f"{folder / 'skipped.json'} is damaged; evaluate again") from error
    page = folder / "report.html"
    write_atomically(page, render(rows, load_strips(folder, rows), skipped, read_resamples(folder)))
    return page, skipped
