"""Training of the codec: it starts well, learns, resumes, finishes, and never leaves the bounds of
exactness.
"""

import itertools

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.models.compression_model import CONFIGS, CompressionModel, ModelConfig, save_model
from salcompress.models.lagrangian import (
    HIGHEST_LAMBDA,
    LOWEST_LAMBDA,
    Perceptual,
    lambda_of,
    rate_distortion,
    saliency_weights,
)
from salcompress.models.transforms import initialise_as_klt
from salcompress.training.codec import Recipe, starting_model, train_codec, validate, write_weights
from salcompress.training.codec.growth import grow
from salcompress.training.codec.recipe import crops_of, random_levels
from salcompress.training.codec.train import _step
from salcompress.training.loop import TrainSettings, _Run
from salcompress.training.losses import shipped_perceptual
from salcompress.training.photographs import Photographs
from salcompress.training.schedule import Cosine, Stable

TINY = ModelConfig(64, 64, 48, 8, 16)
RECIPE = Recipe(batch_size=4, crop=64, large_crop=128)


@pytest.fixture(scope="module")
def pictures():
    return [make_scene(40, k, 256, 288).image for k in range(3)]


@pytest.fixture(scope="module")
def photographs(pictures):
    return Photographs(pictures)


def tiny_model():
    torch.manual_seed(0)
    model = CompressionModel(TINY)
    model.prior.project()
    return model


def settings_of(path, steps, **changes):
    return TrainSettings(Cosine(steps), 1.0, path, 1e-3)._replace(**changes)


def with_saliency(pictures):
    """A fourth channel: every other column is salient."""
    return [
        np.dstack(
            [
                picture,
                np.broadcast_to(
                    (np.arange(picture.shape[1]) % 2 * 255).astype(np.uint8), picture.shape[:2]
                ),
            ]
        )
        for picture in pictures
    ]


def one_batch(photographs, count=8, side=64, seed=9):
    torch.manual_seed(seed)
    return photographs.crops(count, side), random_levels(count, side // 64, torch.device("cpu"))


def test_klt_start_is_the_best_linear_codec(pictures):
    model = tiny_model()
    images = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    initialise_as_klt(model.analysis, model.synthesis, images, 5.0)
    pixels = images[0][None, :, :256, :256].float() / 255
    ones = torch.ones(1, 64, 16, 16)
    with torch.no_grad():
        error = (model.synthesis(model.analysis(pixels, ones), ones) - pixels).square().mean()
    assert (
        10 * torch.log10(1 / error) > 25
    )  # 48 of 768 numbers a block are kept; random weights give about 10 dB


def test_a_stable_phase_goes_on_and_is_finished_within_the_bounds(photographs, tmp_path):
    model, settings = (
        tiny_model(),
        TrainSettings(Stable(5), 0.02, tmp_path / "a.state", 1e-3, average_decay=0.9, log_every=4),
    )
    first = train_codec(model, photographs, settings, RECIPE, mixed_precision=False).step
    second = train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False).step
    assert 0 < first < second
    before = (tmp_path / "a.state").read_bytes()
    result = train_codec(
        tiny_model(), photographs, settings.to_finish(0.02), RECIPE
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
        settings = settings_of(tmp_path / name, 8, save_every=1)
        return train_codec(
            tiny_model(), photographs, settings, RECIPE, mixed_precision=False
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
    recipe = RECIPE._replace(saliency_weight=1.5, perceptual=shipped_perceptual(200.0, "cpu"))
    run = _Run(
        model,
        lambda crops: step(crops, False),
        model.prior.project,
        TrainSettings(Stable(), 1.0, None, 1e-3, average_decay=0.9),
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


def test_what_a_step_draws():
    recipe = Recipe(batch_size=16, crop=128, large_crop=256, large_every=4)
    assert [crops_of(recipe, step, False) for step in range(4)] == [(4, 256), *[(16, 128)] * 3]
    assert crops_of(recipe, 1, True) == (4, 256) and crops_of(
        recipe._replace(large_every=0), 0, False
    ) == (16, 128)


def test_levels_are_uniform_or_of_two_kinds():
    torch.manual_seed(3)
    levels = random_levels(400, 2, torch.device("cpu"))
    kinds = torch.tensor([len(set(image.flatten().tolist())) for image in levels])
    assert levels.shape == (400, 1, 2, 2) and levels.min() <= 2 and levels.max() >= 61
    assert (
        set(kinds.tolist()) == {1, 2} and 0.5 < (kinds == 1).float().mean() < 0.68
    )  # a map of two shows one in an eighth of cases


def test_growing_keeps_what_was_learned(photographs):
    """To the last bit of the rate: the larger model begins as the smaller one."""
    small, large = tiny_model(), CompressionModel(ModelConfig(72, 80, 48, 8, 24, 4, 3, 5, 6, 3))
    train_a_little(small, photographs)
    grow(small, large)
    image, levels = one_batch(photographs, 2, 128)
    with torch.no_grad():
        before, after = (model(image, levels, hard=True) for model in (small, large))
    assert torch.equal(before.estimated_bits_1, after.estimated_bits_1) and torch.equal(
        before.estimated_bits_2, after.estimated_bits_2
    )
    assert torch.allclose(before.reconstruction, after.reconstruction, atol=1e-5)
    train_a_little(large, photographs)
    old_blocks, old_width = small.config.synthesis_blocks_8, small.config.channels_8
    for new in (
        large.synthesis.tail[old_blocks].narrow.weight,
        large.synthesis.tail[-2].weight[:, old_width:],
        large.prior.refine.weight[:, 16:],
    ):
        assert new.abs().max() > 0  # gradients have found what was silent
    with pytest.raises(
        SettingError, match="a model with channels_8 72 cannot grow into one with 64"
    ):
        grow(large, tiny_model())


def train_a_little(model, photographs):
    image, levels = one_batch(photographs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        rate_distortion(model(image, levels), image, levels).loss.backward()
        optimizer.step()
        model.prior.project()


def test_what_a_training_begins_with(pictures, tmp_path):
    begun = starting_model(TINY, None, pictures)
    (tmp_path / "w.safetensors").write_bytes(save_model(begun))
    assert starting_model(None, tmp_path / "w.safetensors", []).config == TINY
    larger = ModelConfig(72, 64, 48, 8, 16)
    assert starting_model(larger, tmp_path / "w.safetensors", []).config == larger
    with pytest.raises(SettingError, match="begins with a config or with a weights file"):
        starting_model(None, None, pictures)
    with pytest.raises(
        SettingError,
        match="the start as a KLT needs photographs with both sides of at least 256 pixels",
    ):
        starting_model(TINY, None, [pictures[0][:100]])


def test_a_checkpoint_of_another_recipe_is_refused(photographs, tmp_path):
    settings = settings_of(tmp_path / "a.state", 1)
    train_codec(tiny_model(), photographs, settings, RECIPE, mixed_precision=False)
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    with pytest.raises(
        DataError,
        match="is of another training .*perceptual_weight=0, now .*perceptual_weight=1.; remove it",
    ):
        train_codec(
            tiny_model(),
            photographs,
            settings,
            RECIPE._replace(perceptual=metric),
            mixed_precision=False,
        )


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


@pytest.mark.parametrize(
    "change, message",
    [
        ({"crop": 100}, "crop must be a multiple of 64 pixels, got 100"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"saliency_weight": -1.0}, "must be at least 0"),
        ({"saliency_weight": 1.0}, "needs photographs with a fourth channel"),
        ({"crop": 512}, "no photograph has both sides of at least 512 pixels"),
    ],
)
def test_recipes_that_make_no_sense(photographs, tmp_path, change, message):
    with pytest.raises(SettingError, match=message):
        train_codec(
            tiny_model(),
            photographs,
            settings_of(tmp_path / "a.state", 1),
            RECIPE._replace(**change),
        )


def test_lambda_spans_its_range():
    values = lambda_of(torch.tensor([0, 63]))
    assert values[0] == pytest.approx(LOWEST_LAMBDA, rel=1e-5) and values[1] == pytest.approx(
        HIGHEST_LAMBDA, rel=1e-4
    )


def test_saliency_weights_move_care_and_do_not_add_it():
    saliency = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(saliency_weights(saliency, 0.0), torch.ones_like(saliency))
    weights = saliency_weights(saliency, 3.0)
    assert (
        weights.mean() == pytest.approx(1)
        and weights.min() >= 0.25
        and torch.equal(weights.flatten().argsort(), saliency.flatten().argsort())
    )


def test_each_term_enters_the_loss_in_its_units(pictures):
    image, levels = one_batch(Photographs(pictures), 2)
    model, middle = tiny_model(), torch.full_like(levels, 32)  # the level that needs no balance
    with torch.no_grad():
        output = model(image, middle, hard=True)

    def parts(pixel_weight=None, perceptual=None):
        return rate_distortion(output, image, middle, pixel_weight, perceptual)

    plain, doubled = parts(), parts(torch.full((2, 1, 64, 64), 2.0))
    assert torch.allclose(doubled.distortion, 2 * plain.distortion) and torch.equal(
        doubled.psnr, plain.psnr
    )
    half = torch.zeros(2, 1, 64, 64)
    half[..., :32] = 1
    inside = rate_distortion(output, image, middle, inside=half)
    left = (255 * (output.reconstruction - image)[..., :32]).square().mean((1, 2, 3)) * lambda_of(
        torch.tensor(32)
    )
    assert torch.allclose(inside.rate, 2 * plain.rate) and torch.allclose(
        inside.distortion, left
    )  # padding costs bits, but is not seen
    flat = Perceptual(lambda a, b: torch.full_like(a[:, :1], 0.3), 50.0)
    felt = parts(perceptual=flat)
    assert felt.perceptual_distance.tolist() == pytest.approx([0.3] * 2)
    assert felt.perceptual.tolist() == pytest.approx(
        [0.3 * 50 * lambda_of(torch.tensor(32)).item()] * 2
    )
    assert felt.loss == pytest.approx(
        (plain.rate + plain.distortion + felt.perceptual).mean().item(), rel=1e-5
    )


def test_training_with_saliency_and_a_metric(pictures, tmp_path):
    photographs, weights = Photographs(with_saliency(pictures)), {}
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    for name, changes in (
        ("plain", {}),
        ("saliency", {"saliency_weight": 2.0}),
        ("metric", {"perceptual": metric}),
        ("both", {"saliency_weight": 2.0, "perceptual": metric}),
    ):
        settings = settings_of(tmp_path / f"{name}.state", 4)
        result = train_codec(
            tiny_model(), photographs, settings, RECIPE._replace(**changes), mixed_precision=False
        )
        weights[name] = result.weights
    for one, other in itertools.combinations(
        weights.values(), 2
    ):  # each term moves the weights: all else is the same
        assert not all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.gpu
def test_training_on_a_gpu_goes_on_on_a_cpu_and_the_reverse(pictures, tmp_path, capsys):
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    recipe = RECIPE._replace(large_every=3, saliency_weight=1.0, perceptual=metric)
    for steps, device in ((30, "cuda"), (34, "cpu"), (60, "cuda")):
        photographs = Photographs(with_saliency(pictures), device)
        settings = settings_of(tmp_path / "a.state", steps, average_decay=0.9)
        assert train_codec(tiny_model().to(device), photographs, settings, recipe).step == steps
    assert "capturing one failed" not in capsys.readouterr().out
