"""Scenes are reproducible, and their annotations say what is drawn."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_util

from salcompress.data.coco import load_dataset
from salcompress.data.scenes import (
    CLASS_NAMES,
    annotate,
    make_scene,
    mask_to_polygons,
    write_scenes,
)
from salcompress.errors import SettingError
from salcompress.image import read_image


def test_same_seed_same_scene_other_seed_other_scene():
    assert np.array_equal(make_scene(1, 5).image, make_scene(1, 5).image)
    assert not np.array_equal(make_scene(1, 5).image, make_scene(1, 6).image)
    assert not np.array_equal(make_scene(1, 5).image, make_scene(2, 5).image)


def test_objects_are_varied_visible_and_disjoint():
    categories, areas = set(), []
    for index in range(30):
        scene = make_scene(4, index)
        assert scene.image.shape == (240, 320, 3) and scene.image.dtype == np.uint8
        masks = [found.mask for found in scene.objects]
        assert not masks or np.sum(masks, axis=0).max() == 1
        categories |= {found.category_id for found in scene.objects}
        areas += [int(mask.sum()) for mask in masks]
    assert categories == set(range(1, len(CLASS_NAMES) + 1))
    assert min(areas) >= 40
    small, large = sum(a < 32**2 for a in areas), sum(a >= 96**2 for a in areas)
    assert small > 0 and large > 0 and len(areas) > small + large  # all three of COCO's sizes


def test_polygons_cover_the_mask_and_box_and_area_are_theirs():
    for found in make_scene(4, 3).objects:
        annotation = annotate(found)
        encoded = mask_util.merge(
            mask_util.frPyObjects(annotation["segmentation"], *found.mask.shape)
        )
        drawn = mask_util.decode(encoded).astype(bool)
        # Outlines are simplified to a quarter pixel and holes are filled: small objects lose the
        # most.
        assert (drawn & found.mask).sum() / (drawn | found.mask).sum() > 0.9
        assert annotation["area"] == drawn.sum()
        rows, columns = np.nonzero(drawn)
        assert annotation["bbox"] == [
            columns.min(),
            rows.min(),
            np.ptp(columns) + 1,
            np.ptp(rows) + 1,
        ]


def test_a_mask_in_two_pieces_has_two_polygons():
    mask = np.zeros((20, 40), bool)
    mask[5:15, 3:10] = mask[5:15, 20:30] = True
    assert len(mask_to_polygons(mask)) == 2


def test_written_set_is_read_back_and_left_alone(tmp_path):
    path = write_scenes(tmp_path, 3, seed=9)
    dataset = load_dataset(tmp_path / "images", path)
    assert dataset.name == "synthetic scenes (seed 9)"
    assert np.array_equal(read_image(dataset.images[1].path), make_scene(9, 1).image)
    assert len(dataset.coco.getAnnIds()) == sum(len(make_scene(9, k).objects) for k in range(3))
    before = path.stat().st_mtime_ns
    assert write_scenes(tmp_path, 3, seed=9).stat().st_mtime_ns == before
    write_scenes(tmp_path, 2, seed=9)
    assert len(json.loads(path.read_text())["images"]) == 2


def test_wrong_arguments(tmp_path):
    with pytest.raises(SettingError, match="at least 64 x 64"):
        make_scene(1, 1, 63, 100)
    with pytest.raises(SettingError, match="num_images must be at least 1"):
        write_scenes(tmp_path, 0, seed=1)
