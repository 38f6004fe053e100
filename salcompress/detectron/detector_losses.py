"""What a detector teaches the codec in front of it: its own losses, and its features."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from salcompress.detectors.feature_distance import feature_distance
from salcompress.models.lagrangian import lambda_of
from salcompress.models.quality_map import NUM_LEVELS


class Teaching(NamedTuple):
    """Which of the detector's losses teach."""

    labels: bool
    """Its own, which need annotations."""
    distillation: float
    """Weight of the relative squared difference of its features; 0 compares none."""
    features: tuple[str, ...]
    """Names of the features compared; all where empty."""


def detector_losses(
    detector: nn.Module,
    compressed: list[dict[str, Any]],
    originals: list[dict[str, Any]],
    teaching: Teaching,
) -> dict[str, Tensor]:
    """Losses of the detector on compressed pictures, and of its features against those of the
    originals.

    Args:
        compressed: Detectron2's dicts, whose images carry gradients.
        originals: The same with the original images; they are looked at where features are
            compared.
    """
    losses: dict[str, Tensor] = {}
    seen: list[dict[str, Tensor]] = []
    hook = None
    if teaching.distillation:  # the features are those of the detector's own pass
        backbone = cast(nn.Module, detector.backbone)
        hook = backbone.register_forward_hook(lambda module, arguments, output: seen.append(output))
    try:
        if teaching.labels:
            losses |= detector(compressed)
        else:
            _features(detector, compressed)
    finally:
        if hook:
            hook.remove()
    if teaching.distillation:
        with torch.no_grad():
            wanted = _features(detector, originals)
        distance = feature_distance(seen[0], wanted, teaching.features)
        losses["loss_distillation"] = teaching.distillation * distance
    return losses


def task_balance(qualities: Sequence[float]) -> list[float]:
    """What one unit of the task's loss counts at each quality, relative to the middle level.

    It is sqrt(lambda(l) / lambda(middle)) for level l: the task's weight grows as lambda(l), and
    all losses of an image are divided by the root of the same quotient. Our choice.
    """
    middle = lambda_of(torch.tensor(NUM_LEVELS / 2))
    return [
        (lambda_of(torch.tensor(quality * (NUM_LEVELS - 1))) / middle).sqrt().item()
        for quality in qualities
    ]


def _features(detector: Any, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
    """What the backbone of a detector like GeneralizedRCNN makes of pictures."""
    return detector.backbone(detector.preprocess_image(inputs).tensor)
