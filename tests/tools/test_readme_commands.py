"""Every command that a README names starts: it has a run bit, an interpreter, and ``--help``."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from salcompress.cli.main import main

ROOT = Path(__file__).parents[2]
READMES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md")]
    if not {"build", "site-packages"} & set(path.parts)
]
CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
"""Fenced, indented, and within a line."""


def code_of(path):
    """The code in a Markdown file, as one text."""
    return "\n".join(CODE.findall(path.read_text(encoding="utf-8")))


ALL_CODE = "\n".join(map(code_of, READMES))
SCRIPTS = sorted(
    {
        name
        for folder, name in re.findall(r"(\btools/)?\b(\w+\.(?:py|sh))\b", ALL_CODE)
        if folder or (ROOT / "tools" / name).is_file()
    }
)
SUBCOMMANDS = sorted(set(re.findall(r"(?<!from )(?<![\w./-])salcompress ([a-z][\w-]*)", ALL_CODE)))
NEEDS_DETECTRON2 = ("bench.py", "lazyconfig_train_net.py", "train_net.py")


def test_the_readmes_name_commands():
    assert {"README.md", "tools/README.md", "tools/FIGURES.md"} <= {
        str(p.relative_to(ROOT)) for p in READMES
    }
    assert {"train_codec.py", "train_net.py"} <= set(SCRIPTS) and "evaluate" in SUBCOMMANDS


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_a_subcommand_exists(command, capsys):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: salcompress {command}")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_run(script):
    path = ROOT / "tools" / script
    assert path.is_file(), "a README names it"
    if os.name == "posix":
        assert os.access(path, os.X_OK), "it lacks the run bit"
    first = path.read_text().partition("\n")[0]
    assert first == ("#!/usr/bin/env bash" if path.suffix == ".sh" else "#!/usr/bin/env python3")


def help_in_this_process(script, monkeypatch, capsys):
    """What ``--help`` prints, and the exit code; torch is there already, which saves its import."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / "tools" / script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name.endswith(".py")])
def test_a_python_script_explains_itself(script, monkeypatch, capsys):
    code, printed = help_in_this_process(script, monkeypatch, capsys)
    if script in NEEDS_DETECTRON2 and importlib.util.find_spec("detectron2") is None:
        assert code == 2
        assert printed.err.startswith(f"tools/{script}: this needs Detectron2")
    else:
        assert code == 0
        assert printed.out.startswith(f"usage: {script} ")


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name.endswith(".sh")])
def test_a_shell_script_explains_itself_and_does_nothing(script, tmp_path):
    command = [ROOT / "tools" / script, "--help"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and f"tools/{script}" in run.stdout
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("script", NEEDS_DETECTRON2)
def test_without_detectron2_one_line_says_what_to_install(script):
    code = (
        "import runpy, sys; sys.modules['detectron2'] = None\n"
        f"sys.argv = ['{script}', '--help']\n"
        f"runpy.run_path({str(ROOT / 'tools' / script)!r}, run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == (
        f"tools/{script}: this needs Detectron2, which is not installed; "
        "https://detectron2.readthedocs.io/en/latest/tutorials/install.html says how to install "
        "it\n"
    )
