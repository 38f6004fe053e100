"""Pictures that the tests of the learned codec share."""

import numpy as np
import pytest

from salcompress.data.scenes import make_scene


@pytest.fixture(scope="session")
def textured():
    """Part of a drawn scene under noise, which costs bits everywhere; uint8 (96, 80, 3)."""
    scene = make_scene(22, 0, 203, 251).image[60:156, 90:170].astype(int)
    noise = np.random.default_rng(0).normal(0, 12, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)
