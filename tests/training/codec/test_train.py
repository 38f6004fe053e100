"""Training of the codec: it learns, resumes, finishes, and keeps the bounds of exactness."""

import math

import pytest
import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.models.compression_model import CONFIGS, CompressionModel, save_model
from salcompress.models.lagrangian import (
    Perceptual,
    rate_distortion,
)
from salcompress.training.codec import train_codec, validate, write_weights
from salcompress.training.codec.recipe import crops_of
from salcompress.training.codec.train import _step
from salcompress.training.loop import _Run
from salcompress.training.losses import shipped_perceptual
from salcompress.training.photographs import Photographs
from salcompress.training.schedule import Stable
from salcompress.training.settings import TrainSettings
from tests.training.codec.tiny import RECIPE, one_batch, settings_of, tiny_model, with_saliency


def test_a_stable_phase_goes_on_and_is_finished_within_the_bounds(photographs, tmp_path):
    model, settings = (
        tiny_model(),
        TrainSettings(Stable(5), 0.005, tmp_path / "a.state", 1e-3, average_decay=0.9, log_every=4),
    )
    first = train_codec(model, photographs, settings, RECIPE, mixed_precision=False).step
    second = train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False).step
    assert 0 < first < second
    before = (tmp_path / "a.state").read_bytes()
    result = train_codec(
        tiny_model(), photographs, settings.to_finish(0.005), RECIPE
    )  # and the precision by a measurement
    assert result.is_over and result.step > second and (tmp_path / "a.state").read_bytes() == before
    assert not torch.equal(
        result.weights["prior.refine.weight"], tiny_model().state_dict()["prior.refine.weight"]
    )
    write_weights(model, result, tmp_path / "w.safetensors")
    codec = SalientCodec(
        0.4, saliency="uniform", weights=tmp_path / "w.safetensors", device="cpu"
    )  # raises if a bound were broken
    image = make_scene(41, 0, 70, 90).image
    assert codec.decode(codec.encode(image)).shape == image.shape


def test_a_resumed_run_gives_the_weights_of_an_unbroken_one(photographs, tmp_path, monkeypatch):
    def run(name):
        settings = settings_of(tmp_path / name, 6, save_every=1)
        recipe = RECIPE._replace(batch_size=1)
        return train_codec(
            tiny_model(), photographs, settings, recipe, mixed_precision=False
        ).weights

    unbroken, left = run("a.state"), 3

    def killed_after_three(*arguments):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return rate_distortion(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("salcompress.training.codec.train.rate_distortion", killed_after_three)
        with pytest.raises(KeyboardInterrupt):
            run("b.state")
    resumed = run("b.state")
    assert not torch.equal(
        unbroken["synthesis.head.0.weight"], tiny_model().state_dict()["synthesis.head.0.weight"]
    )
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())


def test_the_state_of_every_config_can_travel(tmp_path):
    """24 MiB in all, 16 MiB for each of two parts."""
    photographs = Photographs([make_scene(42, 0, 128, 128).image])
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        settings = settings_of(tmp_path / f"{name}.state", 1, average_decay=0.9)
        train_codec(
            CompressionModel(config),
            photographs,
            settings,
            RECIPE._replace(batch_size=1),
            mixed_precision=False,
        )
        assert (tmp_path / f"{name}.state").stat().st_size < 24 * 2**20


def test_validation_is_by_real_bytes(pictures, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(save_model(tiny_model()))
    small = [picture[:70, :90].copy() for picture in pictures[:2]]
    points = validate(tmp_path / "w.safetensors", small, "cpu")
    codec = SalientCodec(0.5, saliency="uniform", weights=tmp_path / "w.safetensors", device="cpu")
    assert (
        points[2].bpp == sum(8 * len(codec.encode(p)) for p in small) / (2 * 70 * 90)
        and len(points) == 5
    )


def test_rates_fall_in_training(photographs, tmp_path):
    model = tiny_model()
    image, levels = one_batch(photographs)

    def loss():
        torch.manual_seed(1)
        with torch.no_grad():
            return rate_distortion(model(image, levels), image, levels).loss.item()

    before = loss()
    train_codec(
        model,
        photographs,
        settings_of(tmp_path / "c.state", 30, learning_rate=2e-3),
        RECIPE,
        mixed_precision=False,
    )
    assert loss() < 0.8 * before


def test_nothing_in_a_step_waits_for_the_device(pictures):
    """A CUDA graph could not capture it: on the CPU, too, no value may travel to the host, with all
    terms of the loss.
    """
    model, photographs = tiny_model(), Photographs(with_saliency(pictures))
    metric = shipped_perceptual(200.0, "cpu")
    recipe = RECIPE._replace(batch_size=1, saliency_weight=1.5, perceptual=metric)
    run = _Run(
        model,
        lambda crops: step(crops, False),
        model.prior.project,
        TrainSettings(Stable(), math.inf, None, 1e-3, average_decay=0.9),
    )
    step = _step(model, photographs, recipe)
    run.optimizer.step = lambda: None  # on a CPU, unlike CUDA, it reads its own step counters
    for decays in (False, True):
        crops = crops_of(recipe, 1, decays)
        run.update(crops)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            run.update(crops)
        called = {event.key for event in profile.key_averages()}
        assert "aten::convolution" in called and "aten::_foreach_norm" in called
        assert not called & {
            "aten::item",
            "aten::_local_scalar_dense",
            "aten::nonzero",
            "aten::is_nonzero",
            "aten::unique_dim",
        }


def test_the_loss_may_change_for_the_decay_and_not_before(photographs, tmp_path, capsys):
    settings = settings_of(tmp_path / "a.state", 1)
    train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False)
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    recipe = RECIPE._replace(perceptual=metric)
    with pytest.raises(DataError, match="perceptual_weight 0 then, 1 now"):
        train_codec(tiny_model(), photographs, settings, recipe, mixed_precision=False)
    decay = settings.to_finish(0.002)
    model = tiny_model()
    assert train_codec(model, photographs, decay, recipe, mixed_precision=False).is_over
    assert "perceptual_weight 0 then, 1 now" in capsys.readouterr().out
    assert model.trained_with.perceptual_weight == 1
    decay.checkpoint.unlink()
    other = recipe._replace(batch_size=2)
    with pytest.raises(DataError, match="batch_size 4 then, 2 now"):
        train_codec(tiny_model(), photographs, decay, other, mixed_precision=False)


def test_a_batch_that_does_not_fit_is_halved(photographs, tmp_path, monkeypatch, capsys):
    def crops(self, count, side):
        if count > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, count, side)

    whole = Photographs.crops
    monkeypatch.setattr(Photographs, "crops", crops)
    assert (
        train_codec(
            tiny_model(),
            photographs,
            settings_of(tmp_path / "a.state", 2),
            RECIPE,
            mixed_precision=False,
        ).step
        == 2
    )
    assert (
        "training goes on with batches of 2\n" in (out := capsys.readouterr().out)
        and "batches of 1\n" in out
    )
    monkeypatch.setattr(Photographs, "crops", lambda self, count, side: crops(self, 2, side))
    with pytest.raises(SettingError, match="not enough memory for one crop of 64 pixels"):
        train_codec(
            tiny_model(),
            photographs,
            settings_of(tmp_path / "b.state", 2),
            RECIPE,
            mixed_precision=False,
        )


@pytest.mark.gpu
def test_training_on_a_gpu_goes_on_on_a_cpu_and_the_reverse(pictures, tmp_path, capsys):
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    recipe = RECIPE._replace(large_every=3, saliency_weight=1.0, perceptual=metric)
    for steps, device in ((30, "cuda"), (34, "cpu"), (60, "cuda")):
        photographs = Photographs(with_saliency(pictures), device)
        settings = settings_of(tmp_path / "a.state", steps, average_decay=0.9)
        model = tiny_model().to(device)
        result = train_codec(model, photographs, settings, recipe, compiles=False)
        assert result.step == steps
    assert "capturing one failed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 2}, "batch_size 4 then, 2 now"),
        ({"crop": 128}, "crop 64 then, 128 now"),
        ({"large_every": 2}, "large_every 0 then, 2 now"),
    ],
)
def test_a_state_of_other_batches_is_refused_unless_allowed(photographs, tmp_path, change, message):
    settings = settings_of(tmp_path / "a.state", 1)
    train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False)
    recipe = RECIPE._replace(**change)
    with pytest.raises(DataError, match=message):
        train_codec(tiny_model(), photographs, settings, recipe, mixed_precision=False)
    settings = settings_of(tmp_path / "a.state", 2, allow_changes=True)
    result = train_codec(tiny_model(), photographs, settings, recipe, mixed_precision=False)
    assert result.step == 2


def test_a_state_of_other_photographs_is_refused(photographs, pictures, tmp_path):
    settings = settings_of(tmp_path / "a.state", 1)
    train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False)
    others = Photographs(pictures[:2])
    with pytest.raises(DataError, match=r"photographs [0-9a-f]{16} then, [0-9a-f]{16} now"):
        train_codec(tiny_model(), others, settings, RECIPE, mixed_precision=False)
