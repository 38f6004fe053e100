"""Training of the perceptual metric: which of two versions is closer to the reference?"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.image import read_image, read_size
from salcompress.metrics.perceptual import PerceptualMetric, perceptual_distance
from salcompress.training.loop import StepResult, TrainResult, TrainSettings, train
from salcompress.training.metric.consensus import agreement
from salcompress.training.metric.distortions import compress
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Triplet

_SMALLEST = 1e-4
"""Added to a distance before its logarithm: below it two versions count as equally close."""


class MetricBatch(NamedTuple):
    """What one training step sees."""

    references: Tensor
    """(G, 3, S, S) in [0, 1]."""
    versions: Tensor
    """(G, K, 3, S, S) in [0, 1]."""
    closer: Tensor
    """(G, K, K): [g, i, j] is how sure it is that version i is closer than version j, in [0, 1]."""
    scores: Tensor | None
    """Calibrated scores of published metrics, (G, K, M), by which versions of different pictures
    are compared, too; or None.
    """


class Judge(nn.Module):
    """A Bradley-Terry model on the logarithm of the metric's distance: sure of it the more, the
    larger their ratio.
    """

    def __init__(self, metric: PerceptualMetric):
        super().__init__()
        self.metric = metric
        self.sharpness = nn.Parameter(torch.tensor([2.0, 2.0]))
        """Within a group, across groups."""

    def log_distances(self, batch: MetricBatch) -> Tensor:
        """(G, K)."""
        groups, count = batch.versions.shape[:2]
        features = self.metric.features(torch.cat([batch.references, batch.versions.flatten(0, 1)]))
        pairs = [
            (f[:groups].float().repeat_interleave(count, 0), f[groups:].float()) for f in features
        ]
        maps = self.metric.compare([a for a, _ in pairs], [b for _, b in pairs])
        distance = torch.stack([m.float().mean((1, 2, 3)) for m in maps]).sum(0)
        return torch.log(distance + _SMALLEST).view(groups, count)

    def loss(self, batch: MetricBatch) -> StepResult:
        """Cross entropy of the choices, in bits: within groups, and half as heavy across groups,
        where scores allow.
        """
        log_distances = self.log_distances(batch)
        within, across = F.softplus(self.sharpness)
        logits = within * (log_distances[:, None, :] - log_distances[:, :, None])
        upper = torch.ones_like(logits).triu(1).bool()
        loss = _bits(logits[upper], batch.closer[upper])
        agreed = torch.where(logits[upper] > 0, batch.closer[upper], 1 - batch.closer[upper]).mean()
        logged = {"within_bits": loss.detach(), "agreement": agreed}
        if batch.scores is not None and len(batch.references) > 1:
            flat, scores = log_distances.flatten(), batch.scores.flatten(0, 1)
            group = torch.arange(len(flat), device=flat.device) // log_distances.shape[1]
            chosen = group[:, None] < group[None, :]
            certainty = agreement(scores[:, None], scores[None, :])[chosen]
            other = _bits(across * (flat[None, :] - flat[:, None])[chosen], certainty)
            loss = loss + 0.5 * other
            logged["across_bits"] = other.detach()
        return StepResult(loss, logged)


def train_metric(
    metric: PerceptualMetric,
    source: Groups | Sequence[Triplet],
    settings: TrainSettings,
    *,
    num_groups: int = 5,
    num_versions: int = 5,
    crop: int = 128,
    seed: int = 1,
    mixed_precision: bool = True,
) -> TrainResult:
    """Train on groups labelled by published metrics, or on human judgements.

    The result's weights are those of the metric. Its scale is left as it is: see :func:`finish`.

    Args:
        num_groups, num_versions: Of a step, for groups; of triplets as many pictures go into a
        step.
        crop: Side of what is cut from triplets that are larger.
        mixed_precision: bfloat16 in the network; distances are float32.

    Raises:
        SettingError: A triplet's pictures are smaller than 32 pixels.
    """
    judge = Judge(metric)
    device = metric.log_scale.device

    def compute(batch: MetricBatch) -> StepResult:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            return judge.loss(
                MetricBatch(*(None if part is None else part.to(device) for part in batch))
            )

    def batches(first: int) -> Iterator[MetricBatch]:
        if isinstance(source, Groups):
            return group_batches(source, seed, first, num_groups, num_versions)
        return triplet_batches(
            source, seed, first, max(1, num_groups * (num_versions + 1) // 3), crop
        )

    result = train(judge, compute, batches, settings)
    prefix = "metric."
    return result._replace(
        weights={
            k.removeprefix(prefix): v for k, v in result.weights.items() if k.startswith(prefix)
        }
    )


def group_batches(
    groups: Groups, seed: int, step: int, num_groups: int, num_versions: int
) -> Iterator[MetricBatch]:
    """Endless batches of random groups and random versions of them, turned and mirrored at random,
    from ``step`` on.
    """
    while True:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(
            len(groups.references), min(num_groups, len(groups.references)), replace=False
        )
        pictures, closer, scores = [], [], []
        for g in chosen:
            k = np.sort(
                rng.choice(
                    groups.versions.shape[1],
                    min(num_versions, groups.versions.shape[1]),
                    replace=False,
                )
            )
            picture = np.concatenate([groups.references[g][None], groups.versions[g][k]])
            pictures.append(_turned(picture, int(rng.integers(8))))
            scores.append(groups.scores[g][k])
            closer.append(closer_of(scores[-1], groups.certain[g][np.ix_(k, k)]))
        pictures = _to_float(np.stack(pictures))
        yield MetricBatch(
            pictures[:, 0],
            pictures[:, 1:],
            torch.from_numpy(np.stack(closer)),
            torch.from_numpy(np.stack(scores)),
        )
        step += 1


def closer_of(scores: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """How sure it is that version i is closer than j, float32 (..., K, K): 1 or 0 where the order
    is certain, else the agreement of published metrics.

    Args:
        scores: Calibrated, (..., K, M).
        certain: Bool (..., K, K), true where i is certainly closer.
    """
    soft = agreement(scores[..., :, None, :], scores[..., None, :, :])
    return np.where(certain, 1, np.where(np.swapaxes(certain, -1, -2), 0, soft)).astype(np.float32)


def triplet_batches(
    triplets: Sequence[Triplet], seed: int, step: int, batch_size: int, crop: int
) -> Iterator[MetricBatch]:
    """Endless batches of random crops of random triplets, from ``step`` on; all have the side that
    the smallest picture allows.

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
        pictures = _to_float(np.stack(pictures))
        yield MetricBatch(
            pictures[:, 0], pictures[:, 1:], torch.tensor(closer, dtype=torch.float32), None
        )
        step += 1


def finish(
    metric: PerceptualMetric, result: TrainResult, source: Groups | Sequence[Triplet]
) -> bytes:
    """The weights file of a training, its scale set on up to 64 pictures of the training data."""
    metric.load_state_dict(result.weights)
    if isinstance(source, Groups):
        pictures = source.references[:: max(1, len(source.references) // 64)][:64]
    else:
        pictures = [
            read_image(triplet.reference) for triplet in source[:: max(1, len(source) // 64)][:64]
        ]
    calibrate_scale(metric, pictures)
    return metric.to_bytes()


@torch.no_grad()
def calibrate_scale(metric: PerceptualMetric, pictures: Iterable[np.ndarray]) -> None:
    """Set the scale so that JPEG at quality 3, the worst step of its ladder, has a mean distance of
    1. Our choice.

    Args:
        pictures: uint8 (H, W, 3) each.
    """
    distances = [
        perceptual_distance(picture, compress(picture, "jpeg", -1).image, metric)
        for picture in map(np.ascontiguousarray, pictures)
    ]
    metric.log_scale -= float(np.log(np.mean(distances)))


def _bits(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target) / np.log(2)


def _turned(pictures: np.ndarray, way: int) -> np.ndarray:
    """One of eight mirrorings and quarter turns of square pictures (K, S, S, 3)."""
    pictures = pictures.transpose(0, 2, 1, 3) if way & 4 else pictures
    return pictures[:, :: -1 if way & 2 else 1, :: -1 if way & 1 else 1]


def _to_float(pictures: np.ndarray) -> Tensor:
    """uint8 (..., H, W, 3) to float (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3))).float() / 255
