"""Does a metric see that quality falls? The order of its distances down each codec's ladder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salcompress.image import read_image
from salcompress.metrics.perceptual import PerceptualMetric, perceptual_distances
from salcompress.training.metric.compressed import LADDERS, compress


def ladder_order(
    paths: Sequence[Path], metric: PerceptualMetric, families: Sequence[str] = tuple(LADDERS)
) -> dict[str, tuple[int, int]]:
    """Count the steps down each codec's ladder at which the metric's distance rises.

    Args:
        paths: Pictures, which are coded whole.
        metric: The learned metric.
        families: Codecs, by their names in ``LADDERS``.

    Returns:
        By codec, the number of steps at which the distance rises, and that of all steps.
    """
    found = {}
    for family in families:
        rising = total = 0
        for path in paths:
            image = read_image(path)
            steps = range(len(LADDERS[family]))
            worse = [compress(image, family, step).image for step in steps]
            distances = perceptual_distances(image, worse, metric)
            rising += int((np.diff(distances) > 0).sum())
            total += len(distances) - 1
        found[family] = rising, total
    return found
