"""Training of the codec: it starts well, learns, resumes, and never leaves the bounds of exactness."""
import itertools

import pytest
import torch

from salcompress.errors import SettingError
from salcompress.image import encode_image
from salcompress.codecs.salient import SalientCodec
from salcompress.models.compression_model import CompressionModel, ModelConfig, save_model
from salcompress.models.transforms import initialise_as_klt
from salcompress.scenes import make_scene
from salcompress.training import codec as codec_training
from salcompress.training.codec import train_codec, validate
from salcompress.training.datasets import codec_batches, find_images, load_images
from salcompress.models.lagrangian import HIGHEST_LAMBDA, LOWEST_LAMBDA, Perceptual, lambda_of, rate_distortion, saliency_weights
from salcompress.training.trainer import TrainSettings

TINY = ModelConfig(64, 64, 48, 8, 16)


@pytest.fixture(scope="module")
def images():
    return [torch.from_numpy(make_scene(40, k, 256, 288).image).permute(2, 0, 1).contiguous() for k in range(3)]


def tiny_model():
    torch.manual_seed(0)
    return CompressionModel(TINY)


def test_klt_start_is_the_best_linear_codec(images):
    model = tiny_model()
    initialise_as_klt(model.analysis, model.synthesis, images, 5.0)
    pixels = images[0][None, :, :256, :256].float() / 255
    ones = torch.ones(1, 64, 16, 16)
    with torch.no_grad():
        error = (model.synthesis(model.analysis(pixels, ones), ones) - pixels).square().mean()
    assert 10 * torch.log10(1 / error) > 25  # 48 of 768 numbers a block are kept; random weights give about 10 dB


def test_mixed_precision_and_large_crops_to_the_end_within_the_bounds(images, tmp_path):
    model = tiny_model()
    settings = TrainSettings(12, 1.0, tmp_path / "a.ckpt", 1e-3, average_decay=0.9)
    result = train_codec(model, images, settings, batch_size=4, crop=64, large_crop=128)
    assert result.step == 12
    start = tiny_model().state_dict()
    assert not torch.equal(result.weights["prior.refine.weight"], start["prior.refine.weight"])
    model.load_state_dict(result.weights)
    model.prior.freeze()  # raises if a bound were broken


def test_batches_of_a_resumed_run_are_those_of_an_unbroken_one(images, tmp_path, monkeypatch):
    """In hard rates nothing is random but the batches, so weights must come out the same."""
    monkeypatch.setattr(codec_training, "HARD_SHARE", 0.0)

    def run(name):
        settings = TrainSettings(8, 1.0, tmp_path / name, 1e-3, save_every=1)
        return train_codec(tiny_model(), images, settings, batch_size=4, crop=64, large_crop=64, mixed_precision=False).weights

    unbroken, left = run("a.ckpt"), 3

    def killed_after_three(*arguments):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return rate_distortion(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(codec_training, "rate_distortion", killed_after_three)
        run("b.ckpt")
    assert torch.load(tmp_path / "b.ckpt")["step"] == 3
    resumed = run("b.ckpt")
    assert not torch.equal(unbroken["synthesis.head.0.weight"], tiny_model().state_dict()["synthesis.head.0.weight"])
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())


def test_validation_is_by_real_bytes(images, tmp_path):
    model = tiny_model()
    model.prior.project()
    (tmp_path / "w.safetensors").write_bytes(save_model(model))
    pictures = [image.permute(1, 2, 0).contiguous().numpy()[:70, :90].copy() for image in images[:2]]
    points = validate(tmp_path / "w.safetensors", pictures, "cpu")
    codec = SalientCodec(0.5, saliency="uniform", weights=tmp_path / "w.safetensors", device="cpu")
    assert points[2].bpp == sum(8 * len(codec.encode(p)) for p in pictures) / (2 * 70 * 90) and len(points) == 5


def test_rates_fall_in_training(images, tmp_path):
    model = tiny_model()
    batch = next(codec_batches(images, 9, 0, 8, 64))

    def loss():
        torch.manual_seed(1)
        with torch.no_grad():
            return rate_distortion(model(batch.image, batch.cell_levels), batch.image, batch.cell_levels).loss.item()

    settings = TrainSettings(30, 1.0, tmp_path / "c.ckpt", 2e-3)
    train_codec(model, images, settings._replace(num_steps=1), batch_size=4, crop=64, large_crop=64, mixed_precision=False)
    before = loss()
    train_codec(model, images, settings, batch_size=4, crop=64, large_crop=64, mixed_precision=False)
    assert loss() < 0.8 * before


def test_batches_are_those_of_their_step(images):
    first = [batch for batch, _ in zip(codec_batches(images, 1, 0, 2, 64), range(4))]
    later = next(codec_batches(images, 1, 3, 2, 64))
    assert torch.equal(first[3].image, later.image) and torch.equal(first[3].cell_levels, later.cell_levels)
    assert first[0].image.shape == (2, 3, 64, 64) and 0 <= first[0].image.min() and first[0].image.max() <= 1
    levels = torch.cat([b.cell_levels.flatten() for b, _ in zip(codec_batches(images, 1, 0, 4, 128), range(40))])
    assert levels.min() <= 5 and levels.max() >= 58


def test_lambda_spans_its_range():
    values = lambda_of(torch.tensor([0, 63]))
    assert values[0] == pytest.approx(LOWEST_LAMBDA, rel=1e-5) and values[1] == pytest.approx(HIGHEST_LAMBDA, rel=1e-4)


def test_large_crops_come_from_large_images(images, tmp_path):
    small = images[0][:, :100, :100]
    settings = TrainSettings(4, 1.0, tmp_path / "a.ckpt", 1e-3)
    assert train_codec(tiny_model(), [small, *images], settings, batch_size=2, crop=64, large_crop=128).step == 4
    with pytest.raises(SettingError, match="no image has both sides of at least large_crop = 128 pixels"):
        train_codec(tiny_model(), [small], settings, batch_size=2, crop=64, large_crop=128)


def test_wrong_folders(tmp_path):
    with pytest.raises(SettingError, match="holds no images"):
        find_images([tmp_path])
    (tmp_path / "small.png").write_bytes(encode_image(make_scene(1, 1, 64, 64).image, "PNG"))
    with pytest.raises(SettingError, match="both sides of at least 128 pixels"):
        load_images(find_images([tmp_path]), "cpu", 128)


def with_saliency(images):
    """A fourth channel: the left half is salient."""
    return [torch.cat([image, (torch.arange(image.shape[2]) < image.shape[2] // 2).mul(255).to(torch.uint8).expand(1, *image.shape[1:])])
            for image in images]


def test_saliency_stays_with_its_pixels(images):
    """Scaled, cropped and flipped as the picture is: red is 255 where salient and nowhere else."""
    marked = [torch.cat([image[3:].repeat(3, 1, 1), image[3:]]) for image in with_saliency(images)]
    for batch, _ in zip(codec_batches(marked, 1, 0, 4, 64), range(6)):
        assert torch.allclose(batch.image[:, :1], batch.saliency, atol=1e-6)
    assert next(codec_batches(images, 1, 0, 2, 64)).saliency is None


def test_saliency_weights_move_care_and_do_not_add_it():
    saliency = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(saliency_weights(saliency, 0.0), torch.ones_like(saliency))
    weights = saliency_weights(saliency, 3.0)
    assert weights.mean() == pytest.approx(1) and weights.min() >= 0.25 and torch.equal(weights.flatten().argsort(), saliency.flatten().argsort())


def test_each_term_enters_the_loss_in_its_units(images):
    batch = next(codec_batches(with_saliency(images), 1, 0, 2, 64))
    model = tiny_model()
    with torch.no_grad():
        output = model(batch.image, torch.full_like(batch.cell_levels, 32), hard=True)  # the level that needs no balance

    def parts(pixel_weight=None, perceptual=None):
        return rate_distortion(output, batch.image, torch.full_like(batch.cell_levels, 32), pixel_weight, perceptual)

    plain, doubled = parts(), parts(torch.full((2, 1, 64, 64), 2.0))
    assert torch.allclose(doubled.distortion, 2 * plain.distortion) and torch.equal(doubled.psnr, plain.psnr)
    half = torch.zeros(2, 1, 64, 64)
    half[..., :32] = 1
    inside = rate_distortion(output, batch.image, torch.full_like(batch.cell_levels, 32), inside=half)
    left = (255 * (output.reconstruction - batch.image)[..., :32]).square().mean((1, 2, 3)) * lambda_of(torch.tensor(32))
    assert torch.allclose(inside.rate, 2 * plain.rate) and torch.allclose(inside.distortion, left)  # padding costs bits, but is not seen
    flat = Perceptual(lambda a, b: torch.full_like(a[:, :1], 0.3), 50.0)
    felt = parts(perceptual=flat)
    assert felt.perceptual_distance.tolist() == pytest.approx([0.3] * 2)
    assert felt.perceptual.tolist() == pytest.approx([0.3 * 50 * lambda_of(torch.tensor(32)).item()] * 2)
    assert felt.loss == pytest.approx((plain.rate + plain.distortion + felt.perceptual).mean().item(), rel=1e-5)


def test_training_with_saliency_and_a_metric(images, tmp_path):
    settings = TrainSettings(4, 1.0, tmp_path / "a.ckpt", 1e-3, log_every=1)
    metric = Perceptual(lambda a, b: (a - b).square().mean(1, keepdim=True), 1.0)
    result = train_codec(tiny_model(), with_saliency(images), settings, batch_size=2, crop=64, large_crop=64, saliency_weight=2.0, perceptual=metric)
    assert result.step == 4
    name, weights = "synthesis.head.0.weight", {"both": result.weights}
    for kind, options in (("plain", {}), ("saliency", {"saliency_weight": 2.0}), ("metric", {"perceptual": metric})):
        settings = settings._replace(checkpoint=tmp_path / f"{kind}.ckpt")
        weights[kind] = train_codec(tiny_model(), with_saliency(images), settings, batch_size=2, crop=64, large_crop=64, **options).weights
    values = [found[name] for found in weights.values()]  # each term moves the weights: all else is the same
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(values, 2))
    with pytest.raises(SettingError, match="must be at least 0"):
        train_codec(tiny_model(), images, settings, batch_size=2, crop=64, large_crop=64, perceptual=metric._replace(weight=-1.0))
    with pytest.raises(SettingError, match="a saliency weight needs images with a fourth channel"):
        train_codec(tiny_model(), images, settings, batch_size=2, crop=64, large_crop=64, saliency_weight=2.0)
