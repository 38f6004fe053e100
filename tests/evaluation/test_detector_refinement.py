"""Laws of the encoder's search for a detector."""

import numpy as np
import pytest

from salcompress.codecs.salient import SalientCodec
from salcompress.detectors.features import load_features
from salcompress.errors import SettingError
from salcompress.evaluation.detector_refinement import (
    FeatureLoss,
    bits_saved,
    measure_refinement,
    refine_for_detector,
)
from salcompress.image import to_tensor


@pytest.fixture(scope="module")
def features():
    return load_features("scenes:device=cpu")


@pytest.fixture(scope="module")
def codec():
    return SalientCodec(0.2, saliency="uniform", device="cpu")


def test_the_loss_is_zero_for_the_original_alone(features, picture):
    loss = FeatureLoss(features, picture, 3.0)
    assert loss(to_tensor(picture)) == 0
    coarse = picture // 32 * 32
    assert loss.distance(coarse) > 0
    assert float(loss(to_tensor(coarse))) == pytest.approx(3 * loss.distance(coarse))


def test_the_search_leaves_more_to_the_detector_for_its_bits(codec, features, picture):
    image = np.ascontiguousarray(picture[:64, :128])
    measured = measure_refinement(codec, [image], features, [0.2], effort=12)
    assert measured.shape == (1, 1, 4)
    # rate x distance hardly changes along the codec's curve
    plain_bpp, plain, refined_bpp, refined = measured[0, 0]
    assert refined_bpp * refined < 0.9 * plain_bpp * plain
    # the stream is like any other
    stream = refine_for_detector(codec, image, features, effort=2)
    assert SalientCodec(device="cpu").decode(stream).shape == image.shape


def test_bits_saved_is_exact_where_the_search_halves_them():
    bpp = np.array([0.1, 0.2, 0.4, 0.8])
    points = np.stack([np.stack([bpp, 1 / bpp, bpp / 2, 1 / bpp], 1)] * 3)
    points *= np.array([1, 2, 5])[:, None, None]  # images differ, and the saving does not
    assert bits_saved(points) == pytest.approx((-50, -50, -50))


def test_a_negative_emphasis_is_refused(codec, features, picture):
    with pytest.raises(SettingError, match="emphasis must be above 0, got -1"):
        refine_for_detector(codec, picture, features, emphasis=-1)
