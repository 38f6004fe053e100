"""What a detector teaches the codec in front of it: its own losses, and its features."""

import contextlib
from collections.abc import Iterator, Sequence
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
    """Names of the backbone's outputs and of modules within it that are compared; all outputs where
    it is empty.
    """


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

    Raises:
        SettingError: A feature is none of the backbone's.
    """
    losses: dict[str, Tensor] = {}
    if not teaching.distillation:
        return detector(compressed)
    backbone = cast(nn.Module, detector.backbone)
    # the features are those of the detector's own pass
    with _watched(backbone, teaching.features) as seen:
        if teaching.labels:
            losses |= detector(compressed)
        else:
            _look(detector, compressed)
    with torch.no_grad(), _watched(backbone, teaching.features) as wanted:
        _look(detector, originals)
    distance = feature_distance(seen, wanted, teaching.features)
    losses["loss_distillation"] = teaching.distillation * distance
    return losses


def give_losses(detector: nn.Module) -> None:
    """Set a detector that does not learn to training, in which it gives losses, with norms and
    dropout as at test.
    """
    detector.train()
    for module in detector.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            module.eval()


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


@contextlib.contextmanager
def _watched(backbone: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Gathers the features of a backbone's passes: its outputs, and outputs of those of its modules
    that are named.
    """
    seen: dict[str, Tensor] = {}
    modules = dict(backbone.named_modules())
    hooks = [backbone.register_forward_hook(lambda module, given, output: seen.update(output))]
    for name in names:
        if name in modules:
            hooks.append(
                modules[name].register_forward_hook(
                    lambda module, given, output, name=name: seen.update({name: output})
                )
            )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _look(detector: Any, inputs: list[dict[str, Any]]) -> None:
    """Have the backbone of a detector like GeneralizedRCNN look at pictures."""
    detector.backbone(detector.preprocess_image(inputs).tensor)
