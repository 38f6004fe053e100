#!/usr/bin/env python3
"""Measure all figures of the model zoo and of tools/FIGURES.md anew, and write their tables.

tools/reproduce.py --data ../shared/data --out results --plan
tools/reproduce.py --data ../shared/data --out results --workers 2
"""

import argparse
import os
from pathlib import Path

from salcompress.cli.main import errors_in_one_line
from salcompress.reproduction.command import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, Path(os.path.relpath(Path(__file__).resolve().parents[1])))
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
