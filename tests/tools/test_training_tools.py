"""The scripts that train and compare start as they stand, and do what their options say."""

import os
import warnings

import numpy as np
import pytest
import torch

from salcompress.data.scenes import make_scene
from salcompress.detectors.scenes import build_model
from salcompress.image import encode_image
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.weight_file import load_tensors, read_weight_file
from salcompress.saliency.network import load_saliency_network
from tests.tools.script import TOOLS, run_script

SCRIPTS = [
    "compare_saliency.py",
    "refine_for_detector.py",
    "reproduce.py",
    "train_codec.py",
    "train_metric.py",
    "train_saliency.py",
    "train_scene_detector.py",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_starts(name, capsys):
    path = TOOLS / name
    assert os.access(path, os.X_OK) and path.read_text().startswith("#!/usr/bin/env python3\n")
    assert len(path.read_text().splitlines()) <= 40
    assert run_script(name, "--help") == 0
    assert f"usage: {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [path.name for path in sorted(TOOLS.glob("gpu_[!_]*.sh"))])
def test_a_shell_script_can_be_run(name):
    sourced = name == "gpu_common.sh"
    assert os.access(TOOLS / name, os.X_OK) is not sourced


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Two pairs in the folder ``pairs``, which lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    for part in ("images", "masks"):
        (tmp_path / "pairs" / part).mkdir(parents=True)
    for k in range(2):
        scene = make_scene(43, k, 64, 96)
        mask = np.any([found.mask for found in scene.objects], 0)
        grey = np.repeat(mask[:, :, None] * np.uint8(255), 3, 2)
        (tmp_path / "pairs" / "images" / f"{k}.png").write_bytes(encode_image(scene.image, "PNG"))
        (tmp_path / "pairs" / "masks" / f"{k}.png").write_bytes(encode_image(grey, "PNG"))
    return tmp_path


def test_saliency_is_trained_scored_and_compared(pairs, capsys):
    train = ["--pairs", "pairs", "--steps", "1"]
    assert run_script("train_saliency.py", *train, "--out", "w.safetensors") == 0
    assert "2 pairs after 0 general ones; w.safetensors: " in capsys.readouterr().out
    load_saliency_network("w.safetensors")
    assert run_script("train_saliency.py", *train, "--folds", "2", "--maps", "maps") == 0
    assert "| network (held out) | " in capsys.readouterr().out
    compare = ["--pairs", "pairs", "--maps", "maps", "--quality", "0.4", "--strength", "8"]
    assert run_script("compare_saliency.py", *compare) == 0
    header, _, off, on = capsys.readouterr().out.splitlines()
    assert header.startswith("| base | saliency | bpp |") and off.startswith("| q=0.4 | off | ")
    assert on.startswith("| q=0.4 | strength 8 | ")
    bpp_off, bpp_on = (float(line.split("|")[3]) for line in (off, on))
    assert abs(bpp_on / bpp_off - 1) < 0.02


def test_pre_training_is_shared_and_scored_on_what_it_held_out(pairs, capsys):
    train = ["--pairs", "pairs", "--pretrain", "pairs", "--pretrain-steps", "1", "--steps", "1"]
    assert run_script("train_saliency.py", *train, "--folds", "2") == 0
    out = capsys.readouterr().out
    assert "pre-trained: 1 held-out general pairs: F-beta " in out
    assert "pre-trained: 2 pairs, none of them seen: F-beta " in out
    assert out.count("training goes on from saliency.pretrained.ckpt, at step 1") == 2
    assert run_script("train_saliency.py", *train, "--backbone", "gone", "--folds", "2") == 1
    assert "cannot read gone" in capsys.readouterr().err


def test_no_folds_is_a_fault_of_the_call(pairs, capsys):
    assert run_script("train_saliency.py", "--pairs", "pairs", "--steps", "1", "--folds", "0") == 2
    assert "folds must be from 2 to the number of pairs, 2; got 0" in capsys.readouterr().err


def test_the_metric_is_trained_on_triplets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate("rab"):
        (tmp_path / f"{name}.png").write_bytes(encode_image(make_scene(44, k, 64, 64).image, "PNG"))
    (tmp_path / "t.csv").write_text("reference,a,b,fraction\nr.png,a.png,b.png,0.75\n")
    train = ["--triplets", "t.csv", "--resume", "m.ckpt", "--out", "m.safetensors"]
    assert run_script("train_metric.py", *train, "--steps", "1") == 0
    assert "1 of 1 steps done; m.safetensors" in capsys.readouterr().out
    PerceptualMetric.load(tmp_path / "m.safetensors")
    (tmp_path / "t.csv").write_text("reference,a,b,fraction\nr.png,a.png,b.png,0.25\n")
    assert run_script("train_metric.py", *train, "--steps", "2") == 1
    assert "m.ckpt was trained under other conditions" in capsys.readouterr().err
    assert run_script("train_metric.py", *train, "--steps", "2", "--allow-changes") == 0
    assert "changes since m.ckpt was written: data " in capsys.readouterr().out


def test_the_scene_detector_goes_on_and_its_weights_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["--threads", str(torch.get_num_threads()), "--resume", "d.ckpt", "--out", "d.st"]
    for steps in ("1", "2"):
        with warnings.catch_warnings():
            assert run_script("train_scene_detector.py", *train, "--steps", steps) == 0
        assert f"{steps} of {steps} steps done; d.st: " in (out := capsys.readouterr().out)
    assert "training goes on from d.ckpt, at step 1\n" in out
    load_tensors(build_model(), read_weight_file("d.st", "a detector").tensors, "d.st")


def test_codecs_are_compared(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(encode_image(make_scene(43, 0, 64, 96).image, "PNG"))
    arguments = ["--photographs", str(tmp_path), "--codec", "jpeg:q=5,20,40,70"]
    assert run_script("compare_codecs.py", *arguments, "--codec", "webp:q=1,20,50,80") == 0
    text = capsys.readouterr().out
    assert "1 photographs" in text and "| webp:q=20,method=4 |" in text
    assert "| codec | against jpeg |" in text and "| jpeg:q=5,20,40,70 | +0.0 % |" in text


def test_all_codecs_have_a_curve():
    from salcompress.codecs import CODECS
    from salcompress.evaluation.rate_distortion import CURVES

    names = {spec.partition(":")[0] for spec in CURVES.values()}
    assert names == set(CODECS) - {"png", "none", "compressai"}  # lossless, or an environment apart
