"""Classical saliency finds the odd one out."""
import numpy as np
import pytest

from salcompress.errors import SettingError
from salcompress.saliency import SALIENCY, classical_saliency


def test_an_object_of_another_colour_is_salient():
    image = np.full((80, 100, 3), (60, 120, 60), np.uint8)
    image[20:40, 30:60] = (200, 40, 40)
    saliency = classical_saliency(image)
    assert saliency.shape == (80, 100) and saliency.dtype == np.float32
    assert saliency.max() == 1 and saliency.min() >= 0
    assert saliency[25:35, 35:55].min() > 3 * saliency[60:, 70:].max()


@pytest.mark.parametrize("name", SALIENCY)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (63, 65)])
def test_any_size_gives_a_map_in_range(name, shape):
    saliency = SALIENCY[name](np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert saliency.shape == shape and 0 <= saliency.min() and saliency.max() <= 1


def test_one_colour_has_nothing_salient():
    assert not classical_saliency(np.full((20, 20, 3), 99, np.uint8)).any()


def test_what_is_no_image():
    with pytest.raises(SettingError, match="image must be a uint8 array"):
        classical_saliency(np.zeros((4, 4)))
