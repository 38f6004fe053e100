"""Endless random batches of images with masks of their salient objects."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.training.saliency.augmentation import crop, recolour
from salcompress.training.saliency.pairs import SaliencyPair


class SaliencyBatch(NamedTuple):
    """What one training step sees."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    mask: Tensor
    """(N, 1, S, S), 0 or 1."""


def saliency_batches(
    sources: Sequence[tuple[float, Sequence[SaliencyPair]]],
    seed: int,
    step: int,
    batch_size: int,
    side: int,
) -> Iterator[SaliencyBatch]:
    """Draw endless batches, the same ones for the same arguments.

    Args:
        sources: Pairs, each list with the share of the samples that it gives.
        seed: Seed of all batches.
        step: Number of the first batch.
        batch_size: Number of samples in a batch.
        side: Side of the square samples in pixels.
    """
    shares = np.array([share for share, _ in sources])
    shares = shares / shares.sum()
    while True:
        random = np.random.default_rng((seed, step))
        chosen = (sources[k][1] for k in random.choice(len(sources), batch_size, p=shares))
        images, masks = zip(*(_sample(source, side, random) for source in chosen))
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        yield SaliencyBatch(image, torch.from_numpy(np.stack(masks))[:, None].float())
        step += 1


def _sample(
    pairs: Sequence[SaliencyPair], side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (S, S, 3), and its mask, uint8 (S, S)."""
    pair = pairs[int(random.integers(len(pairs)))]
    image, mask = crop(pair.image, pair.mask, side, 0.65, random)
    return recolour(image, random), mask
