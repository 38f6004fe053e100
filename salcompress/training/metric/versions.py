"""The random versions of a picture that are compared with each other."""

import numpy as np

from salcompress.training.metric.compressed import (
    CERTAIN_STEPS,
    LADDERS,
    compress,
    near_threshold_versions,
)
from salcompress.training.metric.distortions import DRAWN, Distorted, draw


def versions(
    image: np.ndarray, seed: int, num_codecs: int = 4, num_drawn: int = 2, num_near: int = 4
) -> list[Distorted]:
    """Make the random versions of one group.

    Each of some codecs gives two versions, at settings that are at least
    :data:`~salcompress.training.metric.compressed.CERTAIN_STEPS` apart; the first codec gives one
    more. Each of some drawn distortions gives two strengths. Some encoders of JPEG give one version
    each near the threshold of visibility, at about equal bits, and the first of them one more.

    Args:
        image: uint8 (H, W, 3).
        seed: Seed of the choice.
        num_codecs: Number of codecs.
        num_drawn: Number of drawn distortions.
        num_near: Number of encoders near the threshold.
    """
    rng = np.random.default_rng(seed)
    found = []
    for index, family in enumerate(rng.choice(list(LADDERS), num_codecs, replace=False)):
        steps = len(LADDERS[family])
        first = int(rng.integers(0, steps - CERTAIN_STEPS))
        second = int(rng.integers(first + CERTAIN_STEPS, steps))
        third = (
            [int(rng.choice([k for k in range(steps) if k not in (first, second)]))]
            if index == 0
            else []
        )
        found += [compress(image, str(family), step) for step in (first, second, *third)]
    for family in rng.choice(list(DRAWN), num_drawn, replace=False):
        strengths = rng.uniform(0.03, 0.5), rng.uniform(0.55, 1)
        drawn_seed = int(rng.integers(2**31))
        found += [draw(image, str(family), strength, drawn_seed) for strength in strengths]
    return found + near_threshold_versions(image, rng, num_near)
