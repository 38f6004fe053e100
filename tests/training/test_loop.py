"""Training survives a kill, keeps its limits, and finishes weights out of any stable state."""

import errno
import itertools
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import nn

from salcompress.errors import DataError, OutputError, SettingError
from salcompress.training.loop import StepResult, TrainSettings, train
from salcompress.training.scene_detector import SceneTargets, scene_batches
from salcompress.training.schedule import Cosine, Decay, Stable
from salcompress.training.state import _from_octaves, _to_octaves


def regression(path, num_steps, stop_at=None, average_decay=0.0):
    """Train a line on noise drawn by step number; returns the model, and stops early like a kill
    where asked to.
    """
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def batches(first):
        for step in itertools.count(first):
            if step == stop_at:
                raise KeyboardInterrupt
            yield torch.randn(16, 3, generator=torch.Generator().manual_seed(step))

    def compute(x):
        error = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return StepResult(error, {"error": error})

    settings = TrainSettings(
        Cosine(num_steps), 1, path, 0.2, average_decay=average_decay, save_every=10
    )
    try:
        return model, train(model, compute, batches, settings).step
    except KeyboardInterrupt:
        return model, None


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
        load_file(tmp_path / name)
        for name in ("a.ckpt", "b.ckpt")
        if regression(tmp_path / name, 60, average_decay=0.9)
    ]
    assert found[0].keys() == found[1].keys() and "average.weight" in found[0]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def stable_training(path, steps, **changes):
    """A line learned from noise in the stable phase, in so many more steps."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def compute(x):
        error = (model(x) - x.sum(1, keepdim=True) - 0.1 * torch.randn(len(x), 1)).square().mean()
        return StepResult(error, {"error": error}, num_pixels=x.numel())

    def batches(first):
        return (
            torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
            for step in range(first, first + steps)
        )

    settings = TrainSettings(
        Stable(5), 1, path, 0.2, average_decay=0.9, save_every=10, log_every=10
    )._replace(**changes)
    return model, compute, batches, settings


def test_a_stable_phase_goes_on_and_a_decay_finishes_it_without_touching_it(tmp_path):
    for total in (30, 60):
        result = train(*stable_training(tmp_path / "c.state", 30))
        assert result.step == total and not result.is_over
    before = (tmp_path / "c.state").read_bytes()
    model, compute, batches, settings = stable_training(
        tmp_path / "c.state", 10**9, learning_rate=0.1
    )
    decay = settings.to_finish(0.02)
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
        train(model, compute, batches, settings.to_finish(5)).step == 55
    )  # 25 steps take no five minutes: as if killed
    train(*stable_training(tmp_path / "c.state", 30))
    assert train(model, compute, batches, settings.to_finish(5)).step == 80
    assert "goes on with" in capsys.readouterr().out
    settings.to_finish(5).checkpoint.unlink()
    assert train(model, compute, batches, settings.to_finish(5)).step == 85


def test_a_decay_averages_its_own_steps(tmp_path):
    """What the average holds from before is of the full rate."""
    train(*stable_training(tmp_path / "c.state", 30))
    model, compute, batches, settings = stable_training(tmp_path / "c.state", 0)
    weights = train(model, compute, batches, settings.to_finish(5)).weights
    state = load_file(tmp_path / "c.state")
    assert (
        torch.equal(weights["weight"], state["weight.weight"].float())
        and state["average_scale.weight"] > 0
    )


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


def test_nothing_to_finish(tmp_path):
    *_, settings = stable_training(tmp_path / "c.state", 1)
    with pytest.raises(
        SettingError, match="c.state does not exist: there is no stable phase to finish"
    ):
        settings.to_finish(1)
    with pytest.raises(SettingError, match="a decay takes a number of minutes above 0, got -1"):
        settings.to_finish(-1)


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


def test_a_state_takes_four_bytes_a_weight(tmp_path):
    model = nn.Linear(500, 400)
    settings = TrainSettings(Stable(), 1, tmp_path / "c.state", 1e-3, average_decay=0.9)
    train(
        model,
        lambda x: StepResult(model(x).square().mean(), {}),
        lambda first: iter([torch.randn(4, 500)] * 3),
        settings,
    )
    assert (tmp_path / "c.state").stat().st_size < 4.1 * 200_400


@given(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=40))
def test_second_moments_come_back_within_their_code(values):
    values = torch.tensor(values)
    codes, largest = _to_octaves(values)
    found = _from_octaves(codes, largest)
    assert torch.equal(found == 0, values == 0)  # a weight without a gradient so far stays one
    inside = values > largest * 2.0**-50
    assert (
        (found[inside] / values[inside]).log2().abs().max().nan_to_num() <= 0.1001
        if inside.any()
        else True
    )


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
            Stable(1), 1, path, 0.1, average_decay=0.9, weight_decay=0.0, log_every=len(values)
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


def test_a_full_disk_keeps_the_last_good_state(tmp_path, monkeypatch):
    train(*stable_training(tmp_path / "c.state", 10))
    before = (tmp_path / "c.state").read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("salcompress.files.os.replace", full)
    with pytest.raises(
        OutputError, match="cannot write .*c.state: No space left on device; make room"
    ):
        train(*stable_training(tmp_path / "c.state", 10))
    assert (tmp_path / "c.state").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


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


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """Weights that have seen held-out data would pass for others."""
    settings = TrainSettings(Cosine(2), 1, tmp_path / "a.ckpt", 0.1, identity="fold 0 of three")

    def run(identity):
        model = nn.Linear(1, 1)
        return train(
            model,
            lambda x: StepResult(model(x).mean(), {}),
            lambda first: iter([torch.ones(1, 1)] * 9),
            settings._replace(identity=identity),
        )

    assert run("fold 0 of three").step == run("fold 0 of three").step == 2
    with pytest.raises(
        DataError, match="of another training .fold 0 of three, now fold 0 of two.; remove it"
    ):
        run("fold 0 of two")


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
            TrainSettings(Cosine(100), 1, tmp_path / "a.ckpt", 0.1),
        )


def test_damaged_checkpoints(tmp_path):
    path = tmp_path / "a.ckpt"
    regression(path, 5)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (
        b"half a file",
        whole[: len(whole) // 2],
        bytes(flipped),
        b"",
        save_file_bytes(),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="a.ckpt cannot be resumed .*remove it to start anew"):
            regression(path, 5)


def save_file_bytes():
    """A file of another program in the same container."""
    return save({"weight": torch.zeros(1, 3)})


def test_a_checkpoint_of_another_model(tmp_path):
    regression(tmp_path / "a.ckpt", 5)
    model = nn.Linear(4, 1)
    with pytest.raises(DataError, match="a.ckpt does not fit the model"):
        train(
            model,
            lambda x: StepResult(model(x).mean(), {}),
            lambda first: iter([]),
            TrainSettings(Cosine(5), 1, tmp_path / "a.ckpt", 0.1),
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
            Stable(5), 1, path, 0.05, average_decay=0.9, save_every=50, log_every=50
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


def test_scene_targets_agree_with_their_masks():
    image, target = SceneTargets(seed=1, first=0, length=3)[1]
    assert image.shape == (3, 240, 320) and image.min() >= 0 and image.max() <= 1
    for box, mask in zip(target["boxes"], target["masks"]):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_batches_resume_where_they_were():
    whole = [image for batch in scene_batches(1, 0, 3, 2, 0) for image, _ in batch]
    tail = [image for batch in scene_batches(1, 2, 3, 2, 0) for image, _ in batch]
    assert len(whole) == 6 and all(torch.equal(a, b) for a, b in zip(whole[4:], tail))
