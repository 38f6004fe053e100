"""Drawn photographs for the trainings of the codec."""

import pytest

from salcompress.data.scenes import make_scene
from salcompress.training.photographs import Photographs


@pytest.fixture(scope="module")
def pictures():
    return [make_scene(40, k, 256, 288).image for k in range(3)]


@pytest.fixture(scope="module")
def photographs(pictures):
    return Photographs(pictures)
