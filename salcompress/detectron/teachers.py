"""Networks beside the detector whose features teach a codec, so that it does not belong to one
detector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.detectors.feature_distance import feature_distance
from salcompress.detectors.scenes import WEIGHTS, load_scene_network


class FeatureTeacher(Protocol):
    """A frozen network whose features on compressed pictures are to be those on the originals."""

    weight: float
    """What its distance counts, beside 1 for the detector's own features."""

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Features by name, (N, C, h, w) each, of RGB pictures (N, 3, H, W) in [0, 1]."""


class TorchvisionFeatures:
    """The backbone of a torchvision detector as a teacher of
    :class:`~salcompress.detectron.model.CompressedDetector`.

    Args:
        model: Such as Faster R-CNN; it is frozen.
        weight: What its distance counts, beside 1 for the detector's own features.
    """

    def __init__(self, model: nn.Module, weight: float = 1.0):
        self.model, self.weight = model.eval().requires_grad_(False), weight

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Features by name, (N, C, h, w) each, of RGB pictures (N, 3, H, W) in [0, 1]."""
        self.model.to(pictures.device)
        model = cast(Any, self.model)
        mean, std = (
            torch.tensor(values, device=pictures.device).view(3, 1, 1)
            for values in (model.transform.image_mean, model.transform.image_std)
        )
        return model.backbone((pictures - mean) / std)


def load_scene_features(weights: Path | str = WEIGHTS, weight: float = 1.0) -> TorchvisionFeatures:
    """The backbone of the demo's detector as a teacher.

    Raises:
        SettingError: The file is missing.
        DataError: The file is damaged or of another model.
    """
    return TorchvisionFeatures(load_scene_network(weights), weight)


def teacher_losses(
    teachers: Sequence[FeatureTeacher],
    compressed: list[Tensor],
    originals: list[Tensor],
    weight: float,
) -> dict[str, Tensor]:
    """Losses of further networks' features on compressed pictures against those on the originals.

    Args:
        teachers: The networks.
        compressed: RGB (3, H, W) in [0, 255] each, which carry gradients.
        originals: The original of each, of its size.
        weight: What a distance counts for a teacher of weight 1.

    Returns:
        ``loss_teacher_K`` of each; nothing without teachers.
    """
    losses = {}
    for k, teacher in enumerate(teachers):
        with torch.no_grad():
            wanted = teacher(_batch(originals))
        distance = feature_distance(teacher(_batch(compressed)), wanted)
        losses[f"loss_teacher_{k}"] = weight * teacher.weight * distance
    return losses


def _batch(pictures: Sequence[Tensor]) -> Tensor:
    """(N, 3, H, W) in [0, 1]; smaller pictures are padded below and on the right with 0."""
    height, width = (max(picture.shape[k] for picture in pictures) for k in (1, 2))
    return torch.stack(
        [
            F.pad(
                picture.float() / 255, (0, width - picture.shape[2], 0, height - picture.shape[1])
            )
            for picture in pictures
        ]
    )
