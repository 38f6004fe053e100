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

SCRIPT = Path(__file__).parents[2] / "tools" / "train_codec.py"
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


def call(folder, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def last_step(out):
    return int(re.findall(r"^step (\d+)", out, re.MULTILINE)[-1])


def test_killed_continued_and_finished(folder):
    run = call(folder, "--data", "data/images", *SMALL, "--minutes", "5")
    while not (folder / "a.state").exists():
        assert run.poll() is None, run.stdout.read()
    run.send_signal(signal.SIGKILL)
    run.wait()
    steps = []
    for _ in range(2):
        out, _ = call(
            folder,
            "--data",
            "data/images",
            *SMALL,
            "--minutes",
            "0.01",
            "--out",
            "so_far.safetensors",
        ).communicate()
        steps.append(last_step(out))
    assert 2 <= steps[0] < steps[1]
    state = (folder / "a.state").read_bytes()
    out, _ = call(
        folder, "--data", "data/images", *SMALL, "--decay-minutes", "0.01", "--out", "w.safetensors"
    ).communicate()
    assert last_step(out) > steps[1] and "finished; 2 photographs; w.safetensors: 6." in out
    assert (folder / "a.state").read_bytes() == state
    codec, image = (
        SalientCodec(0.3, weights=folder / "w.safetensors", device="cpu"),
        make_scene(9, 0, 64, 64).image,
    )
    assert np.abs(codec.decode(codec.encode(image)).astype(int) - image).mean() < 40


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "nowhere", "--config", "small"], "nowhere holds no images"),
        (["--data", "data/images"], "begins with a config or with a weights file"),
        (
            [
                "--data",
                "data/images",
                "--config",
                "small",
                "--resume",
                "none.state",
                "--decay-minutes",
                "1",
            ],
            "there is no stable phase to finish",
        ),
        (
            ["--data", "data/images", "--config", "small", "--crop", "100"],
            "crop must be a multiple of 64 pixels, got 100",
        ),
    ],
)
def test_bad_calls_are_one_line(folder, arguments, message):
    run = call(folder, *arguments)
    out, _ = run.communicate()
    assert run.returncode == 2 and message in out and len(out.splitlines()) == 1
