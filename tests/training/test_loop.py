"""Training survives a kill, keeps its limits, and says how it goes."""

import itertools
import math

import pytest
import torch
from torch import nn

from salcompress.errors import DataError, SettingError
from salcompress.models.weight_file import read_weight_file
from salcompress.training.loop import StepResult, train
from salcompress.training.schedule import Cosine, Stable
from salcompress.training.settings import TrainSettings
from tests.training.lines import regression, stable_training


def test_resumed_equals_unbroken(tmp_path):
    unbroken, step = regression(tmp_path / "a.ckpt", 60)
    assert step == 60 and (unbroken.weight - 1).abs().max() < 0.1  # it has learned the sum
    assert regression(tmp_path / "b.ckpt", 60, stop_at=37)[1] is None
    resumed, step = regression(tmp_path / "b.ckpt", 60)
    assert step == 60 and torch.equal(resumed.weight, unbroken.weight)


def test_the_average_is_resumed_too(tmp_path):
    """Bit for bit, though the state is rounded: after a save a run goes on from what it saved."""
    regression(tmp_path / "b.ckpt", 60, stop_at=37, average_decay=0.9)
    found = [
        read_weight_file(tmp_path / name, "a training's state").tensors
        for name in ("a.ckpt", "b.ckpt")
        if regression(tmp_path / name, 60, average_decay=0.9)
    ]
    assert found[0].keys() == found[1].keys() and "average.weight" in found[0]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    "change",
    [{"minutes": float("nan")}, {"save_every": 0}, {"log_every": 0}, {"learning_rate": 0.0}],
)
def test_numbers_that_make_no_sense(tmp_path, change):
    with pytest.raises(
        SettingError,
        match="minutes must be at least 0, save_every and log_every at least 1, and the learning "
        "rate above 0",
    ):
        train(*stable_training(tmp_path / "c.state", 1, **change))


def test_every_line_of_the_log_has_the_speed(tmp_path, capsys):
    train(*stable_training(tmp_path / "c.state", 30))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(
        "Mpixel/s" in line and "error" in line and line.startswith("step ") for line in lines
    )


def test_one_overflow_changes_nothing(tmp_path, capsys):
    """The step is left out on the device, without a look from the host: of weights, of their
    average, and of the log.
    """
    model = nn.Linear(1, 1)

    def compute(x):
        return StepResult(model(x).mean() * x.mean(), {})

    def run(path, values):
        with torch.no_grad():
            model.weight.fill_(1.0), model.bias.fill_(0.0)
        settings = TrainSettings(
            Stable(1),
            math.inf,
            path,
            0.1,
            average_decay=0.9,
            weight_decay=0.0,
            log_every=len(values),
        )
        weights = train(
            model, compute, lambda first: (torch.full((1, 1), value) for value in values), settings
        ).weights
        return (
            weights["weight"].clone(),
            model.weight.detach().clone(),
            capsys.readouterr().out.split("s/step")[0].split("  ")[1],
        )

    assert run(tmp_path / "a.state", [1.0, float("inf"), 2.0]) == run(
        tmp_path / "b.state", [1.0, 2.0]
    )


def test_time_limit_keeps_the_state(tmp_path):
    model = nn.Linear(1, 1)
    settings = TrainSettings(Cosine(100), 0, tmp_path / "c.ckpt", 0.1)
    reached = train(
        model,
        lambda x: StepResult(model(x).mean(), {}),
        lambda first: iter([torch.ones(1, 1)] * 100),
        settings,
    )
    assert reached.step == 0 and (tmp_path / "c.ckpt").is_file()


def test_training_that_has_diverged_stops(tmp_path):
    model = nn.Linear(1, 1)
    with pytest.raises(
        DataError,
        match="[0-9]+ steps on end had gradients that are not finite; go on from the last "
        "checkpoint",
    ):
        train(
            model,
            lambda x: StepResult(model(x).mean() * float("nan"), {}),
            lambda first: itertools.repeat(torch.ones(1, 1)),
            TrainSettings(Cosine(100), math.inf, tmp_path / "a.ckpt", 0.1),
        )


@pytest.mark.gpu
def test_steps_are_captured_and_a_failed_capture_only_costs_time(tmp_path, capsys):
    def run(path, waits, device="cuda"):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).to(device)

        def compute(count):
            x = torch.randn(count, 3, device=device)
            error = (model(x) - x.sum(1, keepdim=True)).square().mean()
            return StepResult(error * (error.item() * 0 + 1) if waits else error, {})

        settings = TrainSettings(
            Stable(5), math.inf, path, 0.05, average_decay=0.9, save_every=50, log_every=50
        )
        return train(
            model,
            compute,
            lambda first: ((16, 32)[k % 2] for k in range(first, 200)),
            settings,
            capture=True,
        )

    assert (
        run(tmp_path / "a.state", False).weights["weight"] - 1
    ).abs().max() < 0.1 and "capturing" not in capsys.readouterr().out
    assert (run(tmp_path / "b.state", True).weights["weight"] - 1).abs().max() < 0.1
    assert "run without a CUDA graph: capturing one failed" in capsys.readouterr().out
    model, compute, batches, settings = stable_training(tmp_path / "a.state", 5)
    assert train(model, compute, batches, settings).step == 205  # a state of a GPU goes on on a CPU


def test_a_run_says_from_where_it_goes_on(tmp_path, capsys):
    model, compute, batches, settings = stable_training(tmp_path / "c.state", 30)
    train(model, compute, batches, settings)
    assert "goes on from" not in capsys.readouterr().out
    train(model, compute, batches, settings)
    assert f"training goes on from {tmp_path / 'c.state'}, at step 30\n" in capsys.readouterr().out
    train(model, compute, batches, settings.to_finish(1e9))
    assert f"training begins with {tmp_path / 'c.state'}, at step 60\n" in capsys.readouterr().out
