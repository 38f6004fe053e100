"""Compression as an augmentation: pixels change, geometry and labels never do."""

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform

from salcompress.codecs import load_codec
from salcompress.detectron import CodecTransform, RandomCompression
from salcompress.errors import SettingError


def test_pixels_are_those_of_the_codec_in_the_right_channel_order(picture):
    codec = load_codec("jpeg:q=10")
    expected = codec.decode(codec.encode(picture))
    assert np.array_equal(CodecTransform(codec, "RGB").apply_image(picture), expected)
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    assert np.array_equal(CodecTransform(codec, "BGR").apply_image(bgr), expected[:, :, ::-1])


def test_boxes_points_masks_and_label_maps_are_untouched(picture):
    transform = CodecTransform(load_codec("jpeg:q=5"))
    labels = np.random.default_rng(0).integers(0, 255, picture.shape[:2], dtype=np.uint8)
    boxes, polygon = np.array([[1.5, 2, 30, 40.25]]), np.array([[0.0, 0], [3, 4], [5, 1]])
    assert np.array_equal(transform.apply_segmentation(labels), labels)
    assert np.array_equal(transform.apply_box(boxes), boxes)
    assert np.array_equal(transform.apply_polygons([polygon])[0], polygon)
    assert isinstance(transform.inverse(), NoOpTransform)


def test_through_an_augmentation_list(picture):
    labels = np.random.default_rng(0).integers(0, 9, picture.shape[:2], dtype=np.uint8)
    given = T.AugInput(picture.copy(), sem_seg=labels.copy())
    T.AugmentationList([RandomCompression(["jpeg:q=5"])])(given)
    assert np.array_equal(given.sem_seg, labels) and not np.array_equal(given.image, picture)


def test_probability_and_every_setting_is_drawn(picture):
    assert isinstance(RandomCompression(["jpeg:q=5"], prob=0).get_transform(picture), NoOpTransform)
    augmentation = RandomCompression(["jpeg:q=5,10", "webp:q=3"], prob=0.5)
    drawn = [augmentation.get_transform(picture) for _ in range(400)]
    settings = [t.codec.setting for t in drawn if isinstance(t, CodecTransform)]
    assert 140 < len(settings) < 260  # half of 400, six standard deviations
    counts = [
        settings.count(s) for s in ("q=5,subsampling=420", "q=10,subsampling=420", "q=3,method=4")
    ]
    assert sum(counts) == len(settings) and min(counts) > 30


def test_it_prints_in_a_log():
    assert "RandomCompression(codecs=['jpeg:q=5']" in str(RandomCompression(["jpeg:q=5"]))


def test_wrong_arguments(picture):
    with pytest.raises(SettingError, match=r"prob must be in \[0, 1\], got 2"):
        RandomCompression(["jpeg"], prob=2)
    with pytest.raises(SettingError, match="at least one codec"):
        RandomCompression([])
    with pytest.raises(SettingError, match="unknown codec 'jpg'"):
        RandomCompression(["jpg"])
    with pytest.raises(SettingError, match="must be BGR or RGB for compression, got 'L'"):
        CodecTransform(load_codec("jpeg"), "L")
    with pytest.raises(SettingError, match="image must be a uint8 array"):
        CodecTransform(load_codec("jpeg")).apply_image(picture.astype(np.float32))
