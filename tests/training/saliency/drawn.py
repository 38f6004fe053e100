"""Pairs of a drawn scene and the mask of its objects."""

import numpy as np

from salcompress.data.scenes import make_scene
from salcompress.training.saliency.pairs import (
    SaliencyPair,
)


def drawn_pairs(number, seed=41):
    scenes = [make_scene(seed, k, 72, 96) for k in range(number)]
    return [
        SaliencyPair(f"{k:03d}", scene.image, np.any([found.mask for found in scene.objects], 0))
        for k, scene in enumerate(scenes)
    ]
