"""Samples of images and masks: the same for a seed, and the mask stays with its object."""

import numpy as np
import torch

from salcompress.data.scenes import make_scene
from salcompress.training.saliency.batches import Sources, saliency_batches
from salcompress.training.saliency.pairs import (
    SaliencyPair,
)
from tests.training.saliency.drawn import drawn_pairs


def test_batches_depend_on_seed_and_step_alone():
    source = Sources(drawn_pairs(3), [make_scene(42, 0, 80, 80).image], 0.5)
    stream = saliency_batches([(1.0, source)], 7, 0, 4, 64)
    first, second = next(stream), next(stream)
    again = next(saliency_batches([(1.0, source)], 7, 1, 4, 64))
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


def test_pasted_objects_carry_their_mask():
    """A white object on black backgrounds: wherever it is pasted, the mask is there and nowhere
    else.
    """
    mask = np.zeros((60, 60), bool)
    mask[20:40, 15:45] = True
    pair = SaliencyPair(
        "white", np.where(mask[:, :, None], 255, 90).astype(np.uint8).repeat(3, 2), mask
    )
    source = Sources([pair], [np.zeros((64, 64, 3), np.uint8)], 1.0)
    batch = next(saliency_batches([(1.0, source)], 3, 0, 16, 96))
    bright = batch.image.mean(1, keepdim=True) > 0.3
    assert (bright != batch.mask.bool()).float().mean() < 0.06  # soft edges, and recolouring
    assert batch.mask.mean((1, 2, 3)).min() > 0.01
