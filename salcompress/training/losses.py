"""Terms of the codec's loss that other networks give: a perceptual metric and a detector."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from salcompress.errors import SettingError
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.lagrangian import Perceptual


def shipped_perceptual(weight: float, device: str) -> Perceptual:
    """The shipped perceptual metric as a term of the loss.

    Args:
        weight: The squared 8-bit error that a perceptual distance of 1 counts as.
        device: Where the metric computes.
    """
    metric = PerceptualMetric.load(device=device)
    return Perceptual(lambda image, reconstruction: metric(image, reconstruction).map, weight)


def feature_distance(
    features: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Sequence[str] = ()
) -> Tensor:
    """Relative squared difference between the features of two images.

    In each channel the squared difference is divided by the square of the wanted feature. The
    distance is the mean over channels and then over features. Channels are taken one by one,
    because those that decide, such as scores of classes, may have a thousandth of the features'
    energy. A channel with little energy counts as if it had a thousandth of the mean energy. Our
    choice.

    Args:
        features: Features by name, (N, C, h, w) each.
        wanted: Features by name that the others should equal, (N, C, h, w) each.
        names: Names of the features to compare; all if empty.

    Returns:
        A scalar of at least 0, and 0 for equal features. It is differentiable in ``features``.

    Raises:
        SettingError: A name is not one of the backbone's.
    """
    unknown = [name for name in names if name not in wanted]
    if unknown:
        raise SettingError(
            f"the backbone gives {', '.join(wanted)}, and no {unknown[0]!r} to distil"
        )
    distances = []
    for name in names or wanted:
        target = wanted[name].float()
        difference = (features[name].float() - target).square().mean((0, 2, 3))
        energy = target.square().mean((0, 2, 3))
        distances.append((difference / (energy + 1e-3 * energy.mean()).clamp(min=1e-12)).mean())
    return torch.stack(distances).mean()
