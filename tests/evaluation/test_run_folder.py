"""A folder belongs to one run, and nothing is written beside it."""

import json

import pytest

from salcompress.errors import DataError, SettingError
from salcompress.evaluation.run_folder import (
    RunIdentity,
    claim_folder,
    maps_path,
    picture_path,
    records_path,
)

IDENTITY = RunIdentity("set", "a", "detector", "b", 12)


@pytest.mark.parametrize(
    "changes, difference",
    [
        ({"detector": "other"}, "detector detector then, other now"),
        ({"dataset": "other"}, "data set set then, other now"),
        ({"dataset_fingerprint": "c", "num_images": 4}, "12 images then, 4 now"),
        ({"dataset_fingerprint": "c"}, "the annotations of set have changed since"),
        ({"detector_fingerprint": "c"}, "the files or the weights of the detector detector have"),
    ],
)
def test_a_folder_belongs_to_one_run_and_says_in_words_what_differs(tmp_path, changes, difference):
    claim_folder(tmp_path, IDENTITY)
    claim_folder(tmp_path, IDENTITY)
    with pytest.raises(
        SettingError,
        match=f"results of another run: {difference}.*; choose another --out, or delete it",
    ):
        claim_folder(tmp_path, IDENTITY._replace(**changes))


def test_a_folder_of_before_the_number_of_images_was_noted(tmp_path):
    held = IDENTITY._asdict()
    del held["num_images"]
    (tmp_path / "run.json").write_text(json.dumps(held))
    claim_folder(tmp_path, IDENTITY)
    with pytest.raises(SettingError, match="other images were asked for"):
        claim_folder(tmp_path, IDENTITY._replace(dataset_fingerprint="c", num_images=4))


def test_a_folder_that_is_none_of_an_evaluation(tmp_path):
    claim_folder(tmp_path, IDENTITY)
    (tmp_path / "results.jsonl").write_text("")
    claim_folder(tmp_path, IDENTITY)
    (tmp_path / "run.json").rename(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="holds results that no evaluation here made"):
        claim_folder(tmp_path, IDENTITY)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run.json is damaged; delete"):
        claim_folder(tmp_path, IDENTITY)


def test_file_names_tell_the_codec_and_differ_by_fingerprint(tmp_path):
    one, two = (records_path(tmp_path, "jpeg:q=30,subsampling=420", f) for f in ("a", "b"))
    assert one != two and one.name.startswith("jpeg-q=30-subsampling=420-")


@pytest.mark.parametrize(
    "image_id", ["../../../x", "/etc/passwd", "..", "a/b", "", "caf\udce9", "x" * 999, "7", 7]
)
def test_no_image_id_leads_out_of_the_folder(tmp_path, image_id):
    for path in (
        picture_path(tmp_path, image_id),
        picture_path(tmp_path, image_id, "jpeg:q=3", "f"),
        maps_path(tmp_path, image_id, "salient:q=1", "f"),
    ):
        assert path.resolve().parent.parent == tmp_path / "pictures"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_image_ids_that_read_alike_have_folders_of_their_own(tmp_path):
    ids = ["a/b", "a-b", "a b", "7", 7, "../7"]
    assert len({picture_path(tmp_path, image_id) for image_id in ids}) == len(ids)
