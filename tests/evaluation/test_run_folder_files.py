"""Small files of a run folder: what was written is read, and damage is said."""

import json

import pytest

from salcompress.data.coco import load_dataset
from salcompress.errors import DataError
from salcompress.evaluation.annotated_objects import read_objects, write_objects
from salcompress.evaluation.kept_pictures import kept_pictures
from salcompress.evaluation.run_folder import note_command, read_commands


def test_objects_are_those_of_the_data_set(scene_dataset, tmp_path):
    write_objects(tmp_path, scene_dataset)
    objects = read_objects(tmp_path)
    for image in scene_dataset.images:
        there = scene_dataset.coco.imgToAnns[image.image_id]
        kept = objects.by_image[image.image_id]
        assert [o["bbox"] for o in kept] == [o["bbox"] for o in there]
        assert [o["category_id"] for o in kept] == [o["category_id"] for o in there]
    assert set(objects.categories) == set(scene_dataset.category_ids)


def test_image_ids_may_be_text(scenes, tmp_path):
    content = json.loads(scenes.read_text())
    for entry in content["images"]:
        entry["id"] = f"no. {entry['id']}"
    for entry in content["annotations"]:
        entry["image_id"] = f"no. {entry['image_id']}"
    (tmp_path / "text.json").write_text(json.dumps(content))
    dataset = load_dataset(scenes.parent / "images", tmp_path / "text.json")
    write_objects(tmp_path, dataset)
    assert set(read_objects(tmp_path).by_image) == {image.image_id for image in dataset.images}


def test_an_older_folder_has_none(tmp_path):
    assert read_objects(tmp_path) is None
    assert kept_pictures(tmp_path) == [] and read_commands(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [], "categories": {"a": "b"}}'])
def test_damaged_objects_are_said(tmp_path, text):
    (tmp_path / "objects.json").write_text(text)
    with pytest.raises(DataError, match="objects.json is damaged"):
        read_objects(tmp_path)


@pytest.mark.parametrize("text", ["[", '{"images": []}', "[[1]]"])
def test_a_damaged_list_of_pictures_is_said(tmp_path, text):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "kept.json").write_text(text)
    with pytest.raises(DataError, match="kept.json is damaged"):
        kept_pictures(tmp_path)


def test_each_command_is_noted_once(tmp_path):
    for command in (
        "salcompress evaluate --codec none",
        "salcompress evaluate",
        "salcompress evaluate",
    ):
        note_command(tmp_path, command)
    assert read_commands(tmp_path) == ["salcompress evaluate --codec none", "salcompress evaluate"]
