"""A COCO data set is checked before anything is measured on it."""

import json

import pytest
from PIL import Image

from salcompress.data.coco import COCO_CATEGORY_IDS, category_ids, load_dataset
from salcompress.errors import DataError, SettingError


@pytest.fixture
def small(tmp_path):
    """Two grey images and their annotations, as (folder, annotations path, content)."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (30, 20)).save(tmp_path / "images" / name)
    content = {
        "images": [
            {"id": i, "file_name": n, "height": 20, "width": 30}
            for i, n in enumerate(("a.png", "b.png"))
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return tmp_path / "images", path, content


def test_category_ids_of_coco():
    assert (
        len(COCO_CATEGORY_IDS) == 80 and COCO_CATEGORY_IDS[0] == 1 and COCO_CATEGORY_IDS[-1] == 90
    )
    assert category_ids(80)[11] == 13  # "stop sign": the first after a gap
    assert list(category_ids(90))[12] == 13  # torchvision keeps the gaps
    assert list(category_ids(6)) == [1, 2, 3, 4, 5, 6]


def test_real_categories_are_the_coco_ones(coco_val):
    content = json.loads((coco_val / "instances.json").read_text())
    assert [c["id"] for c in content["categories"]] == list(COCO_CATEGORY_IDS)


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


def test_what_others_leave_out_is_filled_in(small):
    _, path, content = small
    path.write_text(
        json.dumps(
            content
            | {"annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}]}
        )
    )
    (annotation,) = load_dataset(*small[:2]).coco.dataset["annotations"]
    assert annotation["area"] == 12 and annotation["iscrowd"] == 0


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "not a json file"),
        ("[]", "no list 'images'"),
        ('{"images": [{"id": 1}]}', "'images' lacks file_name"),
        ('{"images": []}', "no list 'annotations'"),
        (
            '{"images": [], "categories": [], "annotations": [{"id": 1, "image_id": 1, '
            '"category_id": 1, "bbox": 3}]}',
            "annotation 1 has no bbox",
        ),
    ],
)
def test_damaged_annotations(small, text, why):
    folder, path, _ = small
    path.write_text(text)
    with pytest.raises(DataError, match=f"instances.json.*{why}"):
        load_dataset(folder, path)


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
