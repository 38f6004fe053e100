"""Running a script of tools/ in this process, which saves the time of importing torch."""

import runpy
import sys
from pathlib import Path
from unittest import mock

TOOLS = Path(__file__).parents[2] / "tools"


def run_script(name: str, *arguments: str) -> int:
    """Run a script as the main program; returns its exit status."""
    with mock.patch.object(sys, "argv", [name, *arguments]):
        try:
            runpy.run_path(str(TOOLS / name), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
