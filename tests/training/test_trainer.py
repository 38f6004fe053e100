"""Training survives a kill and keeps its limits."""
import itertools

import pytest
import torch
from torch import nn

from salcompress.errors import DataError
from salcompress.training.scene_data import SceneTargets, scene_batches
from salcompress.training.trainer import StepResult, TrainSettings, train


def regression(path, num_steps, stop_at=None):
    """Train a line on noise drawn by step number; returns the model, and stops early like a kill where asked to."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def batches(first):
        for step in itertools.count(first):
            if step == stop_at:
                raise KeyboardInterrupt
            yield torch.randn(16, 3, generator=torch.Generator().manual_seed(step))

    def compute(step, x):
        error = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return StepResult(error, {"error": error})

    settings = TrainSettings(num_steps, 1, path, 0.2, save_every=10)
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


def test_time_limit_keeps_the_state(tmp_path):
    model = nn.Linear(1, 1)
    settings = TrainSettings(100, 0, tmp_path / "c.ckpt", 0.1)
    reached = train(model, lambda step, x: StepResult(model(x).mean(), {}), lambda first: iter([torch.ones(1, 1)] * 100), settings)
    assert reached.step == 0 and (tmp_path / "c.ckpt").is_file()


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    """Weights that have seen held-out data would pass for others."""
    settings = TrainSettings(2, 1, tmp_path / "a.ckpt", 0.1, identity="fold 0 of three")

    def run(identity):
        model = nn.Linear(1, 1)
        return train(model, lambda step, x: StepResult(model(x).mean(), {}), lambda first: iter([torch.ones(1, 1)] * 9),
                     settings._replace(identity=identity))

    assert run("fold 0 of three").step == run("fold 0 of three").step == 2
    with pytest.raises(DataError, match="of another training .fold 0 of three, now fold 0 of two.; remove it"):
        run("fold 0 of two")


def test_training_that_has_diverged_stops(tmp_path):
    model = nn.Linear(1, 1)
    with pytest.raises(DataError, match="50 steps on end had gradients that are not finite; go on from the last checkpoint"):
        train(model, lambda step, x: StepResult(model(x).mean() * float("nan"), {}), lambda first: itertools.repeat(torch.ones(1, 1)),
              TrainSettings(100, 1, tmp_path / "a.ckpt", 0.1))


def test_damaged_checkpoint(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"half a file")
    with pytest.raises(DataError, match="a.ckpt cannot be resumed .*remove it to start anew"):
        regression(tmp_path / "a.ckpt", 5)


def test_scene_targets_agree_with_their_masks():
    image, target = SceneTargets(seed=1, first=0, length=3)[1]
    assert image.shape == (3, 240, 320) and 0 <= image.min() and image.max() <= 1
    for box, mask in zip(target["boxes"], target["masks"]):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_batches_resume_where_they_were():
    whole = [image for batch in scene_batches(1, 0, 3, 2, 0) for image, _ in batch]
    tail = [image for batch in scene_batches(1, 2, 3, 2, 0) for image, _ in batch]
    assert len(whole) == 6 and all(torch.equal(a, b) for a, b in zip(whole[4:], tail))
