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
    from salcompress.reporting.report import write_report

    print(write_report(args.out)[0])
