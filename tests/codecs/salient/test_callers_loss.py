"""Laws of a search that a loss of the caller's steers."""

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import search_loss
from salcompress.errors import SettingError
from salcompress.metrics.perceptual import perceptual_distance
from tests.codecs.salient.searched import lambda_, searching


def test_a_callers_loss_steers(textured):
    """One that sees the left half alone leaves its bits there."""
    target = torch.from_numpy(textured).permute(2, 0, 1)[None].float() / 255
    seen = []

    def left_half(reconstruction):
        seen.append(reconstruction.shape)
        assert reconstruction.min() >= 0 and reconstruction.max() <= 1
        return 600 * (reconstruction - target)[..., :40].square().mean()

    codec = searching(0)
    stream = codec.refine(textured, loss=left_half, effort=30)
    assert set(seen) == {(1, 3, 96, 80)}
    squared = [
        np.square(codec.decode(s).astype(float) - textured)
        for s in (codec.refine(textured, effort=30), stream)
    ]
    assert squared[1][:, 40:].mean() > 1.03 * squared[0][:, 40:].mean()  # 30 steps give 5 %
    assert squared[1][:, :40].mean() < squared[0][:, :40].mean() and len(stream) < len(
        codec.encode(textured)
    )
    assert (
        codec.refine(textured, effort=2)
        == codec.with_effort(2).encode(textured)
        == codec.with_effort(2).refine(textured)
    )


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda x: x.mean() * float("nan"), "loss must return a finite number, got nan"),
        (
            lambda x: (x - x.detach()).square().sum().sqrt() + x.mean(),
            "the gradient of loss is not finite",
        ),
        (lambda x: x.detach().mean(), "loss has no gradient .* without detach"),
        (
            lambda x: torch.ones((), requires_grad=True),
            "loss has no gradient with respect to the reconstruction",
        ),
        (
            lambda x: x.mean(1),
            r"scalar tensor of floats, bits per pixel, got a tensor \(1, 96, 80\)",
        ),
        (lambda x: 3.0, "scalar tensor of floats, bits per pixel, got float"),
        (7, "loss must be a function"),
    ],
)
def test_wrong_losses_are_refused(textured, loss, message):
    with pytest.raises(SettingError, match=message):
        searching(2).refine(textured, loss=loss)


def test_a_loss_needs_steps(textured):
    with pytest.raises(
        SettingError, match="needs an effort of at least 1; got function and effort 0"
    ):
        searching(3).refine(textured, loss=lambda x: x.mean(), effort=0)


def test_the_eye_is_not_forgotten(textured):
    """A search for squared error alone makes pictures that look worse."""
    target = torch.from_numpy(textured).permute(2, 0, 1)[None].float() / 255
    codec = searching(20)

    def squared(reconstruction):
        return (
            lambda_(codec)
            * search_loss.ERROR_WEIGHT
            * 255**2
            * (reconstruction - target).square().mean()
        )

    streams = codec.encode(textured), codec.refine(textured, squared)
    ours, theirs = (perceptual_distance(textured, codec.decode(stream)) for stream in streams)
    assert ours < theirs
