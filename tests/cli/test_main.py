"""How the command line starts and ends, whatever the command."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from salcompress.cli.main import COMMANDS, errors_in_one_line, main
from salcompress.codecs import CODECS
from salcompress.errors import DataError, SettingError

HEAVY = {"torch", "numpy", "cv2", "PIL", "scipy", "pycocotools", "plotly", "detectron2"}


def names_of_commands():
    return [module.__name__.rpartition(".")[2].replace("_", "-") for module in COMMANDS]


def test_the_table_of_commands_is_the_folder_of_commands():
    shared = {"__init__", "main", "arguments", "inputs"}
    files = {path.stem for path in Path(main.__code__.co_filename).parent.glob("*.py")} - shared
    assert files == {name.replace("-", "_") for name in names_of_commands()}


@pytest.mark.parametrize("command", names_of_commands())
def test_help_of_every_command(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: salcompress {command} ")
    assert "None" not in text and "%(" not in text


def test_help_of_evaluate_names_every_codec(capsys):
    assert main(["evaluate", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"The codecs are {', '.join(list(CODECS)[:-1])} and {list(CODECS)[-1]}" in text
    for word in ("--skip-bad", "--cache-gib", "path/to/file.py:factory", "detectron2:CONFIG"):
        assert word in text


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^    ([a-z-]+)", text, re.MULTILINE) == names_of_commands()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["encode", "--help"], ["decode"]])
def test_nothing_heavy_is_imported_before_it_is_known_what_is_asked(arguments):
    """So that --version and --help take a tenth of a second."""
    code = (
        "import sys, salcompress; before = set(sys.modules)\n"
        "from salcompress.cli.main import main\n"
        f"main({arguments!r}); print(*(set(sys.modules) - before), sep=chr(10))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in run.stdout.splitlines()}
    assert not imported & HEAVY
    rooms = {name for name in run.stdout.splitlines() if name.startswith("salcompress.")}
    assert all(name.startswith("salcompress.cli") for name in rooms - {"salcompress.errors"})


def test_python_m_salcompress_is_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "salcompress", "--version"], capture_output=True, text=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run.stdout) and run.returncode == 0


@pytest.mark.parametrize("module", ["argparse", "torch.types", "salcompress.codecs.stream_files"])
def test_ctrl_c_while_importing_gives_no_traceback(module, tmp_path):
    command = ["-m", "salcompress", "encode", str(tmp_path), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command], stderr=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stderr:
        if not line.startswith("import time:"):
            lines.append(line)
        elif line.rpartition("|")[2].strip() == module:
            process.send_signal(signal.SIGINT)
    # where a string was being executed, Python ends as if the signal had killed it
    assert process.wait() in (130, -signal.SIGINT)
    assert len(lines) == 1 and lines[0].startswith("salcompress: interrupted"), lines


def test_a_reader_that_has_seen_enough_ends_the_command_in_silence():
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "salcompress", "codecs"],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert run.returncode == 1 and run.stderr == b""


@pytest.mark.parametrize(
    "error, code, line",
    [
        (SettingError("of the\n call"), 2, "tool: of the call"),
        (DataError("of the data"), 1, "tool: of the data"),
        (
            ModuleNotFoundError(name="detectron2.engine"),
            2,
            "tool: this needs Detectron2, which is not installed; https://",
        ),
        (ModuleNotFoundError(name="ray"), 2, "tool: this needs Ray, which is not installed"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error, code, line, capsys):
    with pytest.raises(SystemExit, match=str(code)), errors_in_one_line("tool"):
        raise error
    printed = capsys.readouterr().err
    assert printed.startswith(line) and printed.count("\n") == 1


def test_a_missing_module_that_is_not_optional_is_no_fault_of_the_call():
    with pytest.raises(ModuleNotFoundError, match="salcompressed"), errors_in_one_line("tool"):
        import salcompressed  # noqa: F401


def test_an_unknown_command_and_option_are_one_line(fails):
    fails(["shrink"], 2, "invalid choice: 'shrink'", "salcompress --help")
    fails(["info", "--all", "x.salc"], 2, "unrecognized arguments: --all", "--help")


def test_codecs_lists_every_option_with_range_and_default(capsys):
    assert main(["codecs"]) == 0
    text = capsys.readouterr().out
    paragraphs = {block.split()[0]: block for block in text.split("\n\n")[1:]}
    assert list(paragraphs) == list(CODECS)
    for name, codec in CODECS.items():
        assert all(f"    {key} " in paragraphs[name] for key in codec.OPTIONS)
    assert re.search(r"q +quality +an integer from 1 to 100 +default 75", paragraphs["jpeg"])
    assert re.search(r"a number above 0 and at most 24 +default 0.5", paragraphs["jpeg2000"])
    assert "one of 420, 422, 444" in paragraphs["avif"]


def test_demo_is_refused_where_it_could_not_write(tmp_path, fails):
    (tmp_path / "file").write_text("not a folder")
    fails(["demo", "--out", tmp_path / "file"], 2, "is a file, and a folder is wanted")
    fails(["demo", "--out", tmp_path / "file" / "x"], 2, "which is a file, and a folder is wanted")
    fails(["demo", "--workers", "-1"], 2, "--workers", "an integer of at least 0, got '-1'")


def test_demo_leaves_another_demo_as_it_is(tmp_path, fails):
    from salcompress.data.scenes import write_scenes

    annotations = write_scenes(tmp_path / "scenes", 2, seed=3)
    before = annotations.read_bytes()
    words = ("holds a demo of 2 scenes, and 3 are wanted now", "--limit 2")
    fails(["demo", "--out", tmp_path, "--limit", "3"], 2, *words)
    assert annotations.read_bytes() == before
