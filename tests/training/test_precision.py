"""The precision of a training on a CPU is what a measurement finds faster, in every training."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from salcompress.data.scenes import make_scene
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.compression_model import CompressionModel, ModelConfig
from salcompress.training.codec import Recipe, train_codec
from salcompress.training.metric.consensus import VOTES
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.train import train_metric
from salcompress.training.photographs import Photographs
from salcompress.training.precision import bfloat16_is_faster
from salcompress.training.saliency.pairs import SaliencyPair
from salcompress.training.saliency.train import SaliencyData, SaliencySchedule, train_saliency
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings


class SlowIn(nn.Module):
    """A layer that takes ten times as long in one precision, by a clock of its own."""

    def __init__(self, slow_precision: bool):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.slow_precision = slow_precision
        self.seconds = 0.0

    def loss(self, mixed_precision):
        self.seconds += 1.0 if mixed_precision == self.slow_precision else 0.1
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision):
            return self.layers(torch.rand(2, 3, 8, 8)).float().square().mean()


@pytest.mark.parametrize("slow_precision", [True, False])
def test_the_faster_precision_is_chosen_and_said(slow_precision, monkeypatch, capsys):
    model = SlowIn(slow_precision)
    clock = SimpleNamespace(perf_counter=lambda: model.seconds)
    monkeypatch.setattr("salcompress.training.precision.time", clock)
    assert bfloat16_is_faster(model, model.loss) is not slow_precision
    chosen, times = (
        ("float32", "1 s with bfloat16 and 0.1 s")
        if slow_precision
        else (
            "bfloat16",
            "0.1 s with bfloat16 and 1 s",
        )
    )
    assert f"networks compute in {chosen}: a small step took {times}" in capsys.readouterr().out


def test_a_measurement_leaves_no_trace():
    """Otherwise a training would depend on how often it was measured."""
    model = SlowIn(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    bfloat16_is_faster(model, model.loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in model.parameters())


def codec_training(path):
    torch.manual_seed(0)
    photographs = Photographs([make_scene(40, 0, 64, 64).image])
    model = CompressionModel(ModelConfig(64, 64, 48, 8, 16))
    settings = TrainSettings(Cosine(1), math.inf, path, 1e-3)
    train_codec(model, photographs, settings, Recipe(batch_size=2, crop=64, large_crop=64))


def metric_training(path):
    references = np.stack([make_scene(41, k, 64, 64).image for k in range(2)])
    groups = Groups(
        references,
        np.stack([references, 255 - references], 1),
        np.zeros((2, 2, len(VOTES)), np.float32),
        np.zeros((2, 2, 2), bool),
        np.zeros((2, 2), bool),
        np.arange(2),
        "drawn",
    )
    train_metric(PerceptualMetric(), groups, TrainSettings(Cosine(1), math.inf, path, 1e-3))


def saliency_training(path):
    scene = make_scene(42, 0, 72, 96)
    pair = SaliencyPair("a", scene.image, np.any([found.mask for found in scene.objects], 0))
    schedule = SaliencySchedule(0, 1, math.inf, path, batch_size=2, side=32)
    train_saliency([pair], SaliencyData([], [], []), schedule, "all")


@pytest.mark.parametrize("training", [codec_training, metric_training, saliency_training])
def test_every_training_asks_the_measurement(training, tmp_path, monkeypatch):
    """And does what it says: no training computes in bfloat16 where float32 is faster."""
    for faster in (True, False):
        asked, seen = [], []

        def answer(model, loss_of, faster=faster, asked=asked):
            asked.append(loss_of(False).item())
            return faster

        class Autocast(torch.autocast):
            def __init__(self, device, dtype=None, enabled=True, seen=seen, **options):
                seen.append(enabled and dtype == torch.bfloat16)
                super().__init__(device, dtype, enabled=enabled, **options)

        with monkeypatch.context() as patch:
            for room in ("codec", "metric", "saliency"):
                patch.setattr(f"salcompress.training.{room}.train.bfloat16_is_faster", answer)
            patch.setattr(torch, "autocast", Autocast)
            training(tmp_path / f"{faster}.ckpt")
        assert len(asked) == 1 and np.isfinite(asked[0])
        assert any(seen) is faster
