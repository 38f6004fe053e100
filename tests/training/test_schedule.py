"""Schedules keep their shape, and a decay finishes a stable phase."""

import pytest
import torch

from salcompress.errors import SettingError
from salcompress.models.weight_file import read_weight_file
from salcompress.training.loop import train
from salcompress.training.schedule import Cosine, Decay, Stable
from tests.training.lines import stable_training


def test_schedules_keep_their_shape():
    assert (
        Stable(100).factor(49, 0) == 0.5
        and Stable(100).factor(10**6, 10**6) == 1
        and not Stable().is_over(10**9, 10**9)
    )
    assert (
        Decay(2).factor(0, 30) == 0.75
        and Decay(2).factor(0, 500) == 0
        and Decay(2).is_over(0, 120)
        and not Decay(2).is_over(0, 119)
    )
    cosine = Cosine(1000)
    assert (
        cosine.factor(0, 0) == 0.05
        and cosine.factor(500, 0) == pytest.approx(0.5)
        and cosine.is_over(1000, 0)
    )


def test_a_stable_phase_goes_on_and_a_decay_finishes_it_without_touching_it(tmp_path):
    for total in (30, 60):
        result = train(*stable_training(tmp_path / "c.state", 30))
        assert result.step == total and not result.is_over
    before = (tmp_path / "c.state").read_bytes()
    model, compute, batches, settings = stable_training(
        tmp_path / "c.state", 10**9, learning_rate=0.1
    )
    decay = settings.to_finish(0.01)
    assert decay.learning_rate == 0.2  # that of the stable phase
    finished = train(model, compute, batches, decay)
    assert finished.is_over and finished.step > 60
    assert (tmp_path / "c.state").read_bytes() == before
    again = train(
        *stable_training(tmp_path / "c.state", 10**9)[:3], decay
    )  # as where its weights could not be written
    assert again.is_over and all(
        torch.equal(value, finished.weights[name]) for name, value in again.weights.items()
    )
    ones = torch.ones(3)
    assert (finished.weights["weight"] - ones).abs().max() < (
        result.weights["weight"] - ones
    ).abs().max()  # less noise at a lower rate


def test_a_killed_decay_goes_on(tmp_path, capsys):
    """Also beside a stable phase that moves on; without its state it begins with the stable phase
    as that is now.
    """
    train(*stable_training(tmp_path / "c.state", 30))
    model, compute, batches, settings = stable_training(tmp_path / "c.state", 25)
    assert (
        train(model, compute, batches, settings.to_finish(1e9)).step == 55
    )  # 25 steps are not so many minutes: as if killed
    train(*stable_training(tmp_path / "c.state", 30))
    assert train(model, compute, batches, settings.to_finish(1e9)).step == 80
    assert "training goes on from" in capsys.readouterr().out
    settings.to_finish(1e9).checkpoint.unlink()
    assert train(model, compute, batches, settings.to_finish(1e9)).step == 85


def test_a_decay_averages_its_own_steps(tmp_path):
    """What the average holds from before is of the full rate."""
    train(*stable_training(tmp_path / "c.state", 30))
    model, compute, batches, settings = stable_training(tmp_path / "c.state", 0)
    weights = train(model, compute, batches, settings.to_finish(1e9)).weights
    state = read_weight_file(tmp_path / "c.state", "a training's state").tensors
    assert (
        torch.equal(weights["weight"], state["weight.weight"].float())
        and state["average_scale.weight"] > 0
    )


def test_nothing_to_finish(tmp_path):
    *_, settings = stable_training(tmp_path / "c.state", 1)
    with pytest.raises(
        SettingError, match="c.state does not exist: there is no stable phase to finish"
    ):
        settings.to_finish(1)
    with pytest.raises(SettingError, match="a decay takes a number of minutes above 0, got -1"):
        settings.to_finish(-1)
