"""The Lagrangian that the codec is trained by: each term in its units."""

import itertools

import pytest
import torch

from salcompress.models.lagrangian import (
    HIGHEST_LAMBDA,
    LOWEST_LAMBDA,
    Perceptual,
    lambda_of,
    rate_distortion,
    saliency_weights,
)
from salcompress.training.codec import train_codec
from salcompress.training.photographs import Photographs
from tests.training.codec.tiny import (
    RECIPE,
    one_batch,
    settings_of,
    tiny_model,
    with_saliency,
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
        settings = settings_of(tmp_path / f"{name}.state", 2)
        result = train_codec(
            tiny_model(), photographs, settings, RECIPE._replace(**changes), mixed_precision=False
        )
        weights[name] = result.weights
    for one, other in itertools.combinations(
        weights.values(), 2
    ):  # each term moves the weights: all else is the same
        assert not all(torch.equal(value, other[name]) for name, value in one.items())
