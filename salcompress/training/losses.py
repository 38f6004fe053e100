"""The shipped perceptual metric as a term of the codec's loss."""

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
