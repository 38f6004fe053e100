"""Endless random batches of pictures with labels: which of two versions is closer?"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.errors import SettingError
from salcompress.image import read_image, read_size
from salcompress.training.metric.consensus import agreement
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Triplet


class MetricBatch(NamedTuple):
    """What one training step sees."""

    references: Tensor
    """(G, 3, S, S) in [0, 1]."""
    versions: Tensor
    """(G, K, 3, S, S) in [0, 1]."""
    closer: Tensor
    """(G, K, K): [g, i, j] is how sure it is that version i is closer than version j, in [0, 1]."""
    scores: Tensor | None
    """Calibrated scores of published metrics, (G, K, M), or None. With them versions of different
    pictures are compared, too.
    """


def group_batches(
    groups: Groups, seed: int, step: int, num_groups: int, num_versions: int
) -> Iterator[MetricBatch]:
    """Draw endless batches of random groups and versions, turned and mirrored at random.

    Args:
        groups: What is drawn from.
        seed: Seed of all batches.
        step: Number of the first batch.
        num_groups: Groups in a batch, or all if there are fewer.
        num_versions: Versions of each group, or all if there are fewer.
    """
    num_groups = min(num_groups, len(groups.references))
    num_versions = min(num_versions, groups.versions.shape[1])
    while True:
        rng = np.random.default_rng((seed, step))
        pictures, closer, scores = [], [], []
        for g in rng.choice(len(groups.references), num_groups, replace=False):
            k = np.sort(rng.choice(groups.versions.shape[1], num_versions, replace=False))
            picture = np.concatenate([groups.references[g][None], groups.versions[g][k]])
            pictures.append(_turned(picture, int(rng.integers(8))))
            scores.append(groups.scores[g][k])
            closer.append(closer_of(scores[-1], groups.certain[g][np.ix_(k, k)]))
        drawn = _to_float(np.stack(pictures))
        yield MetricBatch(
            drawn[:, 0],
            drawn[:, 1:],
            torch.from_numpy(np.stack(closer)),
            torch.from_numpy(np.stack(scores)),
        )
        step += 1


def closer_of(scores: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """How sure it is that version i is closer than version j.

    Args:
        scores: Calibrated scores of published metrics, (..., K, M).
        certain: Bool (..., K, K), true where i is certainly closer.

    Returns:
        Float32 (..., K, K): 1 or 0 where the order is certain, and elsewhere the agreement of the
        published metrics.
    """
    soft = agreement(scores[..., :, None, :], scores[..., None, :, :])
    return np.where(certain, 1, np.where(np.swapaxes(certain, -1, -2), 0, soft)).astype(np.float32)


def triplet_batches(
    triplets: Sequence[Triplet], seed: int, step: int, batch_size: int, crop: int
) -> Iterator[MetricBatch]:
    """Draw endless batches of random crops of random triplets.

    Args:
        triplets: What is drawn from.
        seed: Seed of all batches.
        step: Number of the first batch.
        batch_size: Number of triplets in a batch.
        crop: Side of the crops in pixels, or that of the smallest picture where it is smaller.

    Raises:
        SettingError: A picture is smaller than 32 pixels.
    """
    smallest = min(triplets, key=lambda triplet: min(read_size(triplet.reference)))
    crop = min(crop, *read_size(smallest.reference))
    if crop < 32:
        raise SettingError(
            f"{smallest.reference}: both sides must be at least 32 pixels for training"
        )
    while True:
        rng = np.random.default_rng((seed, step))
        pictures, closer = [], []
        for index in rng.integers(0, len(triplets), batch_size):
            triplet = triplets[index]
            whole = np.stack([read_image(path) for path in triplet[:3]])
            top, left = (int(rng.integers(0, side - crop + 1)) for side in whole.shape[1:3])
            pictures.append(
                _turned(whole[:, top : top + crop, left : left + crop], int(rng.integers(8)))
            )
            closer.append([[0.5, triplet.fraction], [1 - triplet.fraction, 0.5]])
        drawn = _to_float(np.stack(pictures))
        yield MetricBatch(
            drawn[:, 0], drawn[:, 1:], torch.tensor(closer, dtype=torch.float32), None
        )
        step += 1


def _turned(pictures: np.ndarray, way: int) -> np.ndarray:
    """One of eight mirrorings and quarter turns of square pictures (K, S, S, 3)."""
    pictures = pictures.transpose(0, 2, 1, 3) if way & 4 else pictures
    return pictures[:, :: -1 if way & 2 else 1, :: -1 if way & 1 else 1]


def _to_float(pictures: np.ndarray) -> Tensor:
    """uint8 (..., H, W, 3) to float (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3))).float() / 255
