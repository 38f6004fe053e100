"""Samples of images and masks: the same for a seed, and the mask stays with its object."""

import numpy as np
import torch

from salcompress.training.saliency.batches import saliency_batches
from salcompress.training.saliency.pairs import SaliencyPair
from tests.training.saliency.drawn import drawn_pairs


def test_batches_depend_on_seed_and_step_alone():
    sources = [(0.5, drawn_pairs(3)), (0.5, drawn_pairs(2, seed=42))]
    stream = saliency_batches(sources, 7, 0, 4, 64)
    first, second = next(stream), next(stream)
    again = next(saliency_batches(sources, 7, 1, 4, 64))
    assert (
        torch.equal(second.image, again.image)
        and torch.equal(second.mask, again.mask)
        and not torch.equal(first.image, second.image)
    )
    assert first.image.shape == (4, 3, 64, 64) and first.mask.shape == (4, 1, 64, 64)
    assert (
        first.image.min() >= 0
        and first.image.max() <= 1
        and set(first.mask.unique().tolist()) <= {0, 1}
    )


def test_sources_give_their_shares():
    dark, bright = (
        SaliencyPair(name, np.full((40, 40, 3), grey, np.uint8), np.full((40, 40), marked))
        for name, grey, marked in (("dark", 0, False), ("bright", 255, True))
    )
    batch = next(saliency_batches([(0.75, [dark]), (0.25, [bright])], 5, 0, 64, 16))
    share = batch.mask.amax((1, 2, 3)).mean().item()
    assert abs(share - 0.25) < 0.17  # three standard deviations of 64 draws


def test_objects_keep_their_mask():
    """A white object on black: however the picture is cut and turned, the mask is where it is."""
    mask = np.zeros((60, 60), bool)
    mask[20:40, 15:45] = True
    image = np.where(mask[:, :, None], 255, 0).astype(np.uint8).repeat(3, 2)
    batch = next(saliency_batches([(1.0, [SaliencyPair("white", image, mask)])], 3, 0, 16, 96))
    bright = batch.image.mean(1, keepdim=True) > 0.3
    assert (bright != batch.mask.bool()).float().mean() < 0.06  # soft edges, and recolouring
    assert batch.mask.mean((1, 2, 3)).min() > 0.01
