"""A COCO data set is checked before anything is measured on it."""

import json

import pytest
from PIL import Image

from salcompress.data.coco import COCO_CATEGORY_IDS, load_dataset
from salcompress.errors import DataError, SettingError


@pytest.fixture
def small(tmp_path):
    """Two grey images and their annotations, as (folder, annotations path, content)."""
    root = tmp_path / "alone" / "root"  # whose neighbours hold no images of other tests
    (root / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("L", (30, 20)).save(root / "images" / name)
    content = {
        "images": [
            {"id": i, "file_name": n, "height": 20, "width": 30}
            for i, n in enumerate(("a.png", "b.png"))
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = root / "instances.json"
    path.write_text(json.dumps(content))
    return root / "images", path, content


def test_category_ids_of_coco():
    assert (
        len(COCO_CATEGORY_IDS) == 80 and COCO_CATEGORY_IDS[0] == 1 and COCO_CATEGORY_IDS[-1] == 90
    )
    assert COCO_CATEGORY_IDS[11] == 13  # "stop sign": the first after a gap


def test_real_categories_are_the_coco_ones(coco_val):
    dataset = load_dataset(coco_val / "images", coco_val / "instances.json")
    assert dataset.category_ids == COCO_CATEGORY_IDS


def test_category_ids_are_the_data_sets_own_and_sorted(small):
    folder, path, content = small
    content["categories"] = [{"id": i, "name": str(i)} for i in (7, 0, 300)]
    path.write_text(json.dumps(content))
    assert load_dataset(folder, path).category_ids == (0, 7, 300)


def test_limit_and_fingerprint(small):
    folder, path, _ = small
    whole, first = load_dataset(folder, path), load_dataset(folder, path, limit=1)
    assert [i.path.name for i in whole.images] == ["a.png", "b.png"] and [
        i.path.name for i in first.images
    ] == ["a.png"]
    assert whole.fingerprint != first.fingerprint
    assert whole.fingerprint == load_dataset(folder, path).fingerprint


def test_missing_and_wrong_size_are_named_or_skipped(small):
    folder, path, content = small
    (folder / "b.png").unlink()
    with pytest.raises(DataError, match="b.png is missing.*--skip-bad"):
        load_dataset(folder, path)
    content["images"][0]["height"] = 21
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="a.png is 30x20, but .*instances.json says 30x21"):
        load_dataset(folder, path)
    content["images"][0]["height"] = 20
    path.write_text(json.dumps(content))
    found = load_dataset(folder, path, skip_bad=True)
    assert [i.path.name for i in found.images] == ["a.png"] and "missing" in found.skipped["b.png"]


def test_a_folder_one_level_off_is_named(small):
    folder, path, _ = small
    for skip_bad in (False, True):
        with pytest.raises(SettingError, match=f"has none of the images .*{folder} has them; give"):
            load_dataset(folder.parent, path, skip_bad=skip_bad)
        (folder / "deep").mkdir(exist_ok=True)
        with pytest.raises(SettingError, match=f"has none of the images .*{folder} has them; give"):
            load_dataset(folder / "deep", path, skip_bad=skip_bad)
    with pytest.raises(SettingError, match=r"such as a\.png; give the folder that holds them"):
        load_dataset(folder.parents[1], path)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_size_before_the_exif_turn_is_named_so(small, orientation):
    folder, path, _ = small
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (30, 20)).save(folder / "a.png", exif=exif)
    with pytest.raises(DataError, match=r"a.png is 20x30, but .* says 30x20 .*EXIF orientation"):
        load_dataset(folder, path)


def test_exchanged_sides_are_not_laid_to_exif(small):
    folder, path, content = small
    content["images"][0] |= {"height": 30, "width": 20}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="height and width are exchanged") as caught:
        load_dataset(folder, path)
    assert "EXIF" not in str(caught.value)


def test_wrong_arguments(small, tmp_path):
    folder, path, content = small
    with pytest.raises(SettingError, match="images folder .* does not exist"):
        load_dataset(tmp_path / "no", path)
    with pytest.raises(SettingError, match="annotations file .* does not exist"):
        load_dataset(folder, tmp_path / "no.json")
    with pytest.raises(SettingError, match="limit must be at least 1, got 0"):
        load_dataset(folder, path, limit=0)
    path.write_text(json.dumps(content | {"images": []}))
    with pytest.raises(SettingError, match="no usable image in common"):
        load_dataset(folder, path)
