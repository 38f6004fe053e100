"""Steering by known objects: they get bits and quality, at equal rate, and settings keep their
names.
"""

import pickle

import numpy as np
import pytest

from salcompress.codecs.salient import SalientCodec
from salcompress.data.object_mask import object_mask
from salcompress.errors import SettingError
from salcompress.evaluation.region_distortion import (
    RATE_TOLERANCE,
    measure_regions,
    with_pooled_rate,
)
from salcompress.image import read_image
from salcompress.saliency.objects import ObjectSaliency


@pytest.fixture(scope="module")
def saliency(scene_dataset):
    return ObjectSaliency(scene_dataset, boxes=False)


def test_maps_are_the_annotations(scene_dataset, saliency):
    for image in scene_dataset.images[:2]:
        objects = scene_dataset.coco.loadAnns(scene_dataset.coco.getAnnIds(imgIds=[image.image_id]))
        assert np.array_equal(
            saliency(read_image(image.path)), object_mask(objects, image.height, image.width)
        )
    boxes = ObjectSaliency(scene_dataset)(read_image(scene_dataset.images[0].path))
    assert (boxes >= saliency(read_image(scene_dataset.images[0].path))).all()
    with pytest.raises(SettingError, match="none of the data set"):
        saliency(np.zeros((5, 5, 3), np.uint8))


def test_its_label_outlives_the_process(scene_dataset, saliency):
    codec = SalientCodec(0.4, saliency=saliency, device="cpu")
    again = SalientCodec(0.4, saliency=ObjectSaliency(scene_dataset, boxes=False), device="cpu")
    assert (
        codec.fingerprint == again.fingerprint == pickle.loads(pickle.dumps(codec)).fingerprint
        and "masks-" in codec.setting
    )
    assert (
        codec.fingerprint
        != SalientCodec(0.4, saliency=ObjectSaliency(scene_dataset), device="cpu").fingerprint
    )


def test_at_equal_rate_bits_and_quality_move_inside(scene_dataset, saliency):
    images = [read_image(image.path) for image in scene_dataset.images[:3]]
    masks = [saliency(image) for image in images]
    plain = measure_regions(SalientCodec(0.4, saliency="uniform", device="cpu"), images, masks)
    codec = with_pooled_rate(
        SalientCodec(0.4, saliency=saliency, saliency_strength=20, device="cpu"), images, plain.bpp
    )
    steered = measure_regions(codec, images, masks)
    assert steered.bpp == pytest.approx(plain.bpp, rel=RATE_TOLERANCE)
    assert steered.bits_inside > plain.bits_inside and steered.area_inside == plain.area_inside
    assert (
        steered.psnr_inside > plain.psnr_inside + 0.3 and steered.psnr_outside < plain.psnr_outside
    )
    with pytest.raises(SettingError, match="no quality gives 40 bpp"):
        with_pooled_rate(codec, images[:1], 40)
