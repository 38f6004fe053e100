"""What comes out of a training of the metric: a weights file with a set scale."""

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from salcompress.image import read_image
from salcompress.metrics.perceptual import PerceptualMetric, perceptual_distance
from salcompress.training.loop import TrainResult
from salcompress.training.metric.compressed import compress
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import Triplet


def finish(
    metric: PerceptualMetric, result: TrainResult, source: Groups | Sequence[Triplet]
) -> bytes:
    """Make the weights file of a training.

    The metric gets the weights, and its scale is set on up to 64 pictures of the training data.

    Args:
        metric: The metric that was trained.
        result: Where training stopped.
        source: What it was trained on.

    Returns:
        The content of the file.
    """
    metric.load_state_dict(result.weights)
    if isinstance(source, Groups):
        pictures = list(source.references[:: max(1, len(source.references) // 64)][:64])
    else:
        pictures = [
            read_image(triplet.reference) for triplet in source[:: max(1, len(source) // 64)][:64]
        ]
    calibrate_scale(metric, pictures)
    return metric.to_bytes()


@torch.no_grad()
def calibrate_scale(metric: PerceptualMetric, pictures: Iterable[np.ndarray]) -> None:
    """Set the scale so that JPEG at quality 3 has a mean distance of 1.

    That is the worst step of its ladder. Our choice.

    Args:
        metric: The metric, whose scale is changed.
        pictures: uint8 (H, W, 3) each.
    """
    distances = [
        perceptual_distance(picture, compress(picture, "jpeg", -1).image, metric)
        for picture in map(np.ascontiguousarray, pictures)
    ]
    cast(Tensor, metric.log_scale).sub_(float(np.log(np.mean(distances))))
