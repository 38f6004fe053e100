"""The script that trains the codec, as a stranger runs it: killed, continued, finished."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from salcompress import SalientCodec
from salcompress.data.scenes import make_scene, write_scenes
from tests.tools.script import TOOLS, run_script

SMALL = [
    "--config",
    "small",
    "--batch",
    "1",
    "--crop",
    "64",
    "--large-crop",
    "64",
    "--save-every",
    "2",
    "--resume",
    "a.state",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    write_scenes(folder / "data", 2, seed=8, height=256, width=256)
    return folder


def kill_when_saved(folder):
    """Start the script as a process of its own, and kill it when there is a state."""
    run = subprocess.Popen(
        [sys.executable, TOOLS / "train_codec.py", "--data", "data/images", *SMALL, "--minutes=5"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOOLS.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (folder / "a.state").exists():
        assert run.poll() is None, run.stdout.read()
    run.send_signal(signal.SIGKILL)
    run.communicate()


def last_step(out):
    return int(re.findall(r"^step (\d+)", out, re.MULTILINE)[-1])


def test_killed_continued_and_finished(folder, monkeypatch, capsys):
    kill_when_saved(folder)
    monkeypatch.chdir(folder)
    go_on = ["--data", "data/images", *SMALL, "--minutes", "0.005", "--out", "so_far.safetensors"]
    steps = []
    for _ in range(2):
        assert run_script("train_codec.py", *go_on) == 0
        out = capsys.readouterr().out
        assert f"training goes on from a.state, at step {steps[-1] if steps else ''}" in out
        steps.append(last_step(out))
    assert 2 <= steps[0] < steps[1]
    state = Path("a.state").read_bytes()
    finish = ["--data", "data/images", *SMALL, "--decay-minutes", "0.005", "--out", "w.safetensors"]
    assert run_script("train_codec.py", *finish) == 0
    out = capsys.readouterr().out
    assert last_step(out) > steps[1] and "finished; 2 photographs; w.safetensors: " in out
    assert Path("a.state").read_bytes() == state and not Path("a.state.decay").exists()
    codec, image = SalientCodec(0.3, weights="w.safetensors"), make_scene(9, 0, 64, 64).image
    assert np.abs(codec.decode(codec.encode(image)).astype(int) - image).mean() < 40


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--data nowhere --config small", "nowhere holds no images"),
        ("--data data/images", "begins with a config or with a weights file"),
        (
            "--data data/images --config small --resume none.state --decay-minutes 1",
            "there is no stable phase to finish",
        ),
        (
            "--data data/images --config small --crop 100",
            "crop must be a multiple of 64 pixels, got 100",
        ),
    ],
)
def test_bad_calls_are_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert run_script("train_codec.py", *arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
