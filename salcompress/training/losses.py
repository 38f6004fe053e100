"""Terms of the loss that other networks give: a perceptual metric's, and those of a detector that
teaches the codec.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from salcompress.errors import SettingError
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.lagrangian import Perceptual


def shipped_perceptual(weight: float, device: str) -> Perceptual:
    """The shipped perceptual metric as a term of the loss."""
    metric = PerceptualMetric.load(device=device)
    return Perceptual(lambda image, reconstruction: metric(image, reconstruction).map, weight)


def feature_distance(
    features: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Sequence[str] = ()
) -> Tensor:
    """Squared difference of features over the square of those wanted, channel by channel, mean over
    channels and levels: 0 for equal ones.

    Channels are taken for themselves since those that decide, such as scores of classes, may be a
    thousandth of the features' energy. A channel in which little happens counts as if it had a
    thousandth of the mean energy.

    Args:
        features, wanted: By name, (N, C, h, w).
        names: Of the features to compare; all if empty.

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
        difference, energy = (
            (features[name].float() - target).square().mean((0, 2, 3)),
            target.square().mean((0, 2, 3)),
        )
        distances.append((difference / (energy + 1e-3 * energy.mean()).clamp(min=1e-12)).mean())
    return sum(distances) / len(distances)
