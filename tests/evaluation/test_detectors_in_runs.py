"""What detectors return is measured in the types they have, or refused by name."""

import json

import numpy as np
import pytest

from salcompress.codecs import load_codec, load_codecs
from salcompress.data.coco import load_dataset
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import read_jsonl
from tests.evaluation.runs import run, timeless


def masks_of_bright_pictures(image):
    """A detector that gives a mask, but finds nothing in what is coded coarsely."""
    from pycocotools import mask as mask_util

    if len(np.unique(image)) < 200:
        return []
    mask = np.asfortranarray(np.ones(image.shape[:2], np.uint8))
    height, width = mask.shape
    return [
        {
            "category_id": 1,
            "bbox": [0, 0, width, height],
            "score": 0.5,
            "segmentation": mask_util.encode(mask),
        }
    ]


class ConstantCodec(type(load_codec("png"))):
    """A codec that loses everything."""

    name = "constant"
    fingerprint = "constant"

    def encode(self, image):
        return super().encode(np.full_like(image, 127))


@pytest.mark.parametrize("at_once", [True, False])
def test_mask_ap_does_not_depend_on_the_order_of_settings(scene_dataset, tmp_path, at_once):
    """A detector that gives masks has a mask AP of 0 where it finds nothing."""
    png, constant = load_codec("png"), ConstantCodec()
    found = []
    for k, order in enumerate(([png, constant], [constant, png])):
        for codecs in [order] if at_once else [[codec] for codec in order]:
            run(scene_dataset, masks_of_bright_pictures, codecs, tmp_path / str(k))
        rows = {row.codec: row for row in read_jsonl(tmp_path / str(k) / "results.jsonl")}
        found.append(timeless([rows["png"], rows["constant"]]))
    assert found[0] == found[1]
    assert found[0][0].mask is not None and found[0][1].mask["AP"] == 0
    assert found[0][1].box["AP"] == 0


def test_masks_without_annotated_masks_have_no_ap(scenes, tmp_path):
    content = json.loads(scenes.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"], annotation["area"], annotation["iscrowd"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    dataset = load_dataset(scenes.parent / "images", tmp_path / "boxes.json")
    (row,) = run(dataset, masks_of_bright_pictures, load_codecs("png"), tmp_path / "out")
    assert row.mask is None and row.box["AP"] is not None


def test_a_detector_without_a_name_is_refused_with_the_cure(scene_dataset, tmp_path):
    with pytest.raises(
        SettingError, match="detector must have a label and a fingerprint.*or load it with load_det"
    ):
        evaluate(scene_dataset, lambda image: [], load_codecs("png"), tmp_path)


def test_results_in_the_types_that_detectors_really_return(scene_dataset, tmp_path):
    from pycocotools import mask as mask_util

    def detect(image):
        mask = np.asfortranarray(np.ones(image.shape[:2], np.uint8))
        return [
            {
                "category_id": np.int64(1),
                "bbox": np.array([0, 0, 320, 240], np.float32),
                "score": np.float32(0.5),
                "segmentation": mask_util.encode(mask),
            }
        ]

    (row,) = run(scene_dataset, detect, load_codecs("png"), tmp_path)
    assert row.box["AP"] is not None and row.mask["AP"] is not None


@pytest.mark.parametrize(
    "wrong, message",
    [
        (None, "must return a list.*000001.png"),
        ([{"bbox": [0, 0, 1, 1], "score": 1.0}], "no COCO result"),
        ([{"bbox": [0, 0, 1], "score": 1.0, "category_id": 1}], "no COCO result.*000001.png"),
        (
            [
                {
                    "bbox": [0, 0, 1, 1],
                    "score": 1.0,
                    "category_id": 1,
                    "segmentation": [[1, 2, 3, 4, 5, 6]],
                }
            ],
            "compressed RLE",
        ),
        (
            [
                {
                    "bbox": [0, 0, 1, 1],
                    "score": 1.0,
                    "category_id": 1,
                    "segmentation": {"size": [1, 1], "counts": "1"},
                }
            ],
            "compressed RLE",
        ),
        ([{"bbox": [0, 0, 1, 1], "score": float("nan"), "category_id": 1}], "no COCO result"),
    ],
)
def test_a_detector_that_returns_something_else(scene_dataset, tmp_path, wrong, message):
    with pytest.raises(DataError, match=message):
        run(scene_dataset, lambda image: wrong, load_codecs("jpeg:q=10"), tmp_path)


def test_a_detector_that_fails_is_named_with_the_image(scene_dataset, tmp_path):
    with pytest.raises(DataError, match="the detector failed on .*000001.png: ZeroDivisionError"):
        run(scene_dataset, lambda image: 1 / 0, load_codecs("jpeg:q=10"), tmp_path)
