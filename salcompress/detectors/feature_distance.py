"""How far the features of two pictures are from each other."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from salcompress.errors import SettingError

_LEAST_ENERGY = 1e-3


def channel_weights(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight of a squared difference in each channel of features: one over the channel's energy.

    Channels are taken one by one, because those that decide, such as scores of classes, may have a
    thousandth of the features' energy. A channel with little energy counts as if it had a
    thousandth of the mean energy. Our choice.

    Args:
        features: Features by name, (N, C, h, w) each.

    Returns:
        Positive weights by name, (C,) each.
    """
    weights = {}
    for name, value in features.items():
        energy = value.float().square().mean((0, 2, 3))
        weights[name] = 1 / (energy + _LEAST_ENERGY * energy.mean()).clamp(min=1e-12)
    return weights


def feature_distance(
    features: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Sequence[str] = ()
) -> Tensor:
    """Relative squared difference between the features of two images.

    In each channel the squared difference counts by :func:`channel_weights` of the wanted features.
    The distance is the mean over channels and then over features. Our choice.

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
    targets = {name: wanted[name].float() for name in names or wanted}
    distances = []
    for name, weights in channel_weights(targets).items():
        difference = (features[name].float() - targets[name]).square().mean((0, 2, 3))
        distances.append((difference * weights).mean())
    return torch.stack(distances).mean()
