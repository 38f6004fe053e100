"""Objects cover what their annotations say, and bits are split by what is covered."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from salcompress.data.object_mask import object_mask
from salcompress.errors import DataError
from salcompress.metrics.object_share import bits_on_mask


def test_masks_of_every_form_and_boxes():
    box = {"bbox": [2, 1, 4, 3]}
    expected = np.zeros((10, 12), bool)
    expected[1:4, 2:6] = True
    polygon = box | {"segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]}
    compressed = mask_util.encode(np.asfortranarray(expected.astype(np.uint8)))
    lengths, before, value = [], 0, 0
    flat = expected.T.reshape(-1).astype(int)
    for position in [*np.flatnonzero(np.diff(flat)) + 1, len(flat)]:
        lengths, before, value = [*lengths, int(position - before)], position, 1 - value
    crowd = box | {"segmentation": {"size": [10, 12], "counts": lengths}, "iscrowd": 1}
    for objects in (
        [box],
        [polygon],
        [box | {"segmentation": compressed}],
        [crowd],
        [box | {"segmentation": []}],
        [box, polygon],
    ):
        assert np.array_equal(object_mask(objects, 10, 12), expected)
    assert not object_mask([], 10, 12).any()


def test_boxes_beyond_the_edge():
    assert object_mask([{"bbox": [-5, -5, 100, 100]}], 4, 6).all()


def test_bits_are_split_by_cover():
    bits = np.array([[10.0, 20.0], [30.0, 40.0]])
    mask = np.zeros((30, 20), bool)
    assert bits_on_mask(bits, mask, 16) == 0 and bits_on_mask(bits, ~mask, 16) == pytest.approx(100)
    mask[:, :8] = True  # half of the first column's places, nothing of the second's
    assert bits_on_mask(bits, mask, 16) == pytest.approx(20)
    mask[:, 16:] = True  # to the edge, with which all of the padding counts
    assert bits_on_mask(bits, mask, 16) == pytest.approx(80)


@pytest.mark.parametrize(
    "segmentation",
    [[[1, 2]], [[]], {"size": [3, 3], "counts": [9]}, {"size": [10, 12], "counts": 7}],
)
def test_what_cannot_be_read_is_named(segmentation):
    with pytest.raises(
        DataError, match="annotation 7 of image 3 has no readable segmentation or box"
    ):
        object_mask(
            [{"id": 7, "image_id": 3, "bbox": [0, 0, 1, 1], "segmentation": segmentation}], 10, 12
        )
