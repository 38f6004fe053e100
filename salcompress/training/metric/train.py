"""Training of the perceptual metric: which of two versions is closer to the reference?"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.files import digest, read_file
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.loop import StepResult, TrainResult, train
from salcompress.training.metric.batches import MetricBatch, group_batches, triplet_batches
from salcompress.training.metric.consensus import agreement
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Triplet
from salcompress.training.precision import bfloat16_is_faster
from salcompress.training.settings import TrainSettings

_SMALLEST = 1e-4
"""Added to a distance before its logarithm. Below it two versions count as equally close."""


class Judge(nn.Module):
    """A judge who chooses the version with the smaller distance.

    It is a Bradley-Terry model on the logarithm of the metric's distance: the larger the ratio of
    two distances, the surer the choice. Our choice.

    Args:
        metric: The metric in training.
    """

    def __init__(self, metric: PerceptualMetric):
        super().__init__()
        self.metric = metric
        self.sharpness = nn.Parameter(torch.tensor([2.0, 2.0]))
        """How sure a ratio of distances makes it, within a group and across groups, before a
        softplus.
        """

    def log_distances(self, batch: MetricBatch) -> Tensor:
        """Logarithm of each version's distance to its reference, (G, K)."""
        groups, count = batch.versions.shape[:2]
        features = self.metric.features(torch.cat([batch.references, batch.versions.flatten(0, 1)]))
        pairs = [
            (f[:groups].float().repeat_interleave(count, 0), f[groups:].float()) for f in features
        ]
        maps = self.metric.compare([a for a, _ in pairs], [b for _, b in pairs])
        distance = torch.stack([m.float().mean((1, 2, 3)) for m in maps]).sum(0)
        return torch.log(distance + _SMALLEST).view(groups, count)

    def loss(self, batch: MetricBatch) -> StepResult:
        """Cross-entropy of the choices, in bits.

        Choices within groups count once. Where there are scores, choices across groups are added,
        and count half.
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
    mixed_precision: bool | None = None,
) -> TrainResult:
    """Train on groups labelled by published metrics, or on human judgements.

    Args:
        metric: The metric, on a device.
        source: Groups, or triplets with human judgements.
        settings: How long to train.
        num_groups: Groups in a step. Of triplets, as many are taken as have about as many pictures.
        num_versions: Versions of each group in a step.
        crop: Side in pixels of what is cut from triplets that are larger.
        seed: Seed of the batches.
        mixed_precision: Whether the network computes in bfloat16; distances are float32 in any
            case. None takes what a measurement finds faster.

    Returns:
        Where training stopped, with the weights of the metric. Its scale is left as it is:
        :func:`~salcompress.training.metric.outcome.finish` sets it.

    Raises:
        SettingError: The pictures of a triplet are smaller than 32 pixels.
        DataError, OutputError: See :func:`salcompress.training.loop.train`.
    """
    judge = Judge(metric)
    device = next(metric.parameters()).device

    def loss_of(batch: MetricBatch, mixed_precision: bool) -> StepResult:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            return judge.loss(_moved(batch, device))

    def batches(first: int) -> Iterator[MetricBatch]:
        if isinstance(source, Groups):
            return group_batches(source, seed, first, num_groups, num_versions)
        num_triplets = max(1, num_groups * (num_versions + 1) // 3)
        return triplet_batches(source, seed, first, num_triplets, crop)

    if mixed_precision is None:
        few = _first_groups(next(batches(0)), 2)
        mixed_precision = bfloat16_is_faster(judge, lambda mixed: loss_of(few, mixed).loss)
    settings = settings._replace(
        identity="perceptual metric",
        conditions={
            "batch": f"{num_groups}x{num_versions}",
            "crop": str(crop),
            "batches": str(seed),
            "data": _fingerprint(source),
        },
    )
    result = train(judge, lambda batch: loss_of(batch, bool(mixed_precision)), batches, settings)
    prefix = "metric."
    weights = {
        name.removeprefix(prefix): value
        for name, value in result.weights.items()
        if name.startswith(prefix)
    }
    return result._replace(weights=weights)


def _moved(batch: MetricBatch, device: torch.device) -> MetricBatch:
    references, versions, closer, scores = batch
    return MetricBatch(
        references.to(device),
        versions.to(device),
        closer.to(device),
        None if scores is None else scores.to(device),
    )


def _first_groups(batch: MetricBatch, count: int) -> MetricBatch:
    scores = batch.scores
    return MetricBatch(
        batch.references[:count],
        batch.versions[:count],
        batch.closer[:count],
        None if scores is None else scores[:count],
    )


def _fingerprint(source: Groups | Sequence[Triplet]) -> str:
    """Digest of what is trained on."""
    if isinstance(source, Groups):
        return source.fingerprint
    return digest(
        *(
            digest(*(read_file(path) for path in (t.reference, t.a, t.b)), str(t.fraction))
            for t in source
        )
    )[:16]


def _bits(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in bits."""
    return F.binary_cross_entropy_with_logits(logits, target) / np.log(2)
