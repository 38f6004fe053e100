"""A state is small, is there whole or not at all, and is of one training."""

import errno
import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from salcompress.errors import DataError, OutputError
from salcompress.training.loop import StepResult, train
from salcompress.training.schedule import Cosine, Stable
from salcompress.training.settings import TrainSettings
from salcompress.training.state import _from_octaves, _to_octaves
from tests.training.lines import regression, stable_training


def test_a_state_takes_four_bytes_a_weight(tmp_path):
    model = nn.Linear(500, 400)
    settings = TrainSettings(Stable(), math.inf, tmp_path / "c.state", 1e-3, average_decay=0.9)
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


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """Weights that have seen held-out data would pass for others."""
    settings = TrainSettings(
        Cosine(2), math.inf, tmp_path / "a.ckpt", 0.1, identity="fold 0 of three"
    )

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
            TrainSettings(Cosine(5), math.inf, tmp_path / "a.ckpt", 0.1),
        )


def conditioned(path, **changes):
    """A short training under conditions."""
    settings = TrainSettings(
        Cosine(2), math.inf, path, 0.1, identity="a line", conditions={"batch": "4", "data": "ab12"}
    )
    model = nn.Linear(1, 1)
    return train(
        model,
        lambda x: StepResult(model(x).mean(), {}),
        lambda first: iter([torch.ones(1, 1)] * 9),
        settings._replace(**changes),
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"conditions": {"batch": "8", "data": "ab12"}}, "batch 4 then, 8 now"),
        ({"conditions": {"batch": "4", "data": "cd34"}}, "data ab12 then, cd34 now"),
        ({"conditions": {"batch": "4"}}, "data ab12 then, none now"),
        ({"seed": 2}, "seed 1 then, 2 now"),
        (
            {"conditions": {"batch": "4", "data": "ab12", "crop": "64"}},
            "crop not recorded then, 64 now",
        ),
    ],
)
def test_a_checkpoint_of_other_conditions_is_refused_unless_allowed(
    tmp_path, capsys, changes, message
):
    """Otherwise a run would go on with other data, or draw other batches, and nobody would know."""
    conditioned(tmp_path / "a.ckpt")
    with pytest.raises(DataError, match=rf"under other conditions \({message}\); .* allow changes"):
        conditioned(tmp_path / "a.ckpt", **changes)
    longer = {"schedule": Cosine(4), "minutes": 3, "learning_rate": 0.2}  # these may change
    assert conditioned(tmp_path / "a.ckpt", allow_changes=True, **longer, **changes).step == 4
    assert f"changes since {tmp_path / 'a.ckpt'} was written: {message}\n" in (
        capsys.readouterr().out
    )


def test_a_state_without_conditions_goes_on_where_changes_are_allowed(tmp_path):
    """As states of earlier versions are."""
    conditioned(tmp_path / "a.ckpt", conditions={})
    with pytest.raises(DataError, match="batch not recorded then, 4 now, data not recorded then"):
        conditioned(tmp_path / "a.ckpt")
    assert conditioned(tmp_path / "a.ckpt", allow_changes=True, schedule=Cosine(3)).step == 3
