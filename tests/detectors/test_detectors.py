"""Detectors by specification, and what they return."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_util
from safetensors.torch import save_file

from salcompress.data.coco import load_dataset
from salcompress.data.scenes import write_scenes
from salcompress.detectors import detector_fingerprint, load_detector
from salcompress.detectors.scenes import WEIGHTS, build_model
from salcompress.detectors.torchvision import load_torchvision
from salcompress.errors import DataError, SettingError
from salcompress.image import read_image
from salcompress.metrics.average_precision import average_precision


@pytest.fixture(scope="module")
def scene_detector():
    return load_detector("scenes")


def test_scene_detector_finds_what_is_drawn(scene_detector, tmp_path):
    annotations = write_scenes(tmp_path, 12, seed=2)
    dataset = load_dataset(tmp_path / "images", annotations)
    found = {i.image_id: scene_detector(read_image(i.path)) for i in dataset.images}
    for kind in ("bbox", "segm"):
        # 71.6 over 100 scenes; over these twelve the bound leaves three times the standard error
        assert average_precision(dataset.coco, list(found), found, kind).values["AP"] > 60


def test_results_are_coco_results_with_masks(scene_detector, scene_dataset):
    image = read_image(scene_dataset.images[0].path)
    results = scene_detector(image)
    assert results
    for found in results:
        x, y, w, h = found["bbox"]
        assert x >= 0 and y >= 0 and x + w <= 320 and y + h <= 240 and 0 <= found["score"] <= 1
        assert 1 <= found["category_id"] <= 6
        assert mask_util.decode(found["segmentation"]).shape == image.shape[:2]


def test_shipped_weights_keep_their_promise():
    assert WEIGHTS.stat().st_size < 4e6
    assert sum(p.numel() for p in build_model().parameters()) <= 2e6
    assert WEIGHTS.with_suffix(".md").is_file()


def test_a_picture_without_objects(scene_detector):
    assert isinstance(scene_detector(np.zeros((1, 1, 3), np.uint8)), list)


def test_torchvision_with_weights_of_a_file(tmp_path, picture):
    torch.manual_seed(0)
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    state = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=81
    ).state_dict()
    for name, write in (("w.pth", torch.save), ("w.safetensors", save_file)):
        write(state, tmp_path / name)
        detector = load_detector(
            f"torchvision:fasterrcnn_mobilenet_v3_large_320_fpn,weights={tmp_path / name},device=cpu"
        )
        assert list(detector.categories)[11] == 13  # 80 classes are COCO's
        assert isinstance(detector(picture), list)


def test_official_weights_that_cannot_be_had_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        DataError, match=r"cannot be downloaded.*torchvision:maskrcnn_resnet50_fpn,weights=FILE"
    ):
        load_detector("torchvision:maskrcnn_resnet50_fpn")


def test_damaged_and_foreign_weights(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=f"{name}: not a weights file"):
            load_torchvision("fasterrcnn_resnet50_fpn", str(tmp_path / name))
    with pytest.raises(DataError, match="holds no weights|does not fit"):
        load_torchvision("fasterrcnn_resnet50_fpn", str(WEIGHTS))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="x.safetensors does not fit the model"):
        load_detector(f"scenes:weights={tmp_path / 'x.safetensors'}")


def test_weights_are_never_unpickled(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"model": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(DataError, match="bad.pth: not a weights file"):
        load_torchvision("fasterrcnn_resnet50_fpn", str(tmp_path / "bad.pth"))
    assert not (tmp_path / "owned").exists()


def test_external_detector(tmp_path, picture):
    path = tmp_path / "mine.py"
    path.write_text(
        "def build():\n    return lambda image: [{'category_id': 1, 'bbox': [0, 0, "
        "*image.shape[1::-1]], 'score': 1.0}]\n"
    )
    assert load_detector(f"{path}:build")(picture)[0]["bbox"] == [0, 0, 251, 203]
    before = detector_fingerprint(f"{path}:build")
    path.write_text(path.read_text() + "\n")
    assert detector_fingerprint(f"{path}:build") != before


def test_external_files_may_hold_dataclasses_and_import_their_neighbours(tmp_path, picture):
    (tmp_path / "a_neighbour_of_mine.py").write_text("SCORE = 0.25")
    (tmp_path / "mine.py").write_text("""
from __future__ import annotations
from dataclasses import dataclass
from a_neighbour_of_mine import SCORE
@dataclass
class Found:
    score: float
def build():
    return lambda image: [{'category_id': 1, 'bbox': [0, 0, 1, 1], 'score': Found(SCORE).score}]
""")
    assert load_detector(f"{tmp_path / 'mine.py'}:build")(picture)[0]["score"] == 0.25


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("x = 1", SettingError, "has no function 'build'"),
        ("import nothing_such", DataError, "cannot be imported: ModuleNotFoundError"),
        ("def build():\n    return 3", SettingError, "must return a callable, got int"),
        ("def build():\n    raise OSError('no model')", DataError, "failed: OSError: no model"),
    ],
)
def test_broken_external_detectors_are_named(tmp_path, text, error, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(error, match=f"mine.py.*{message}|{message}"):
        load_detector(f"{tmp_path / 'mine.py'}:build")


@pytest.mark.parametrize(
    "spec, message",
    [
        ("yolo", "unknown detector 'yolo'; valid: scenes"),
        ("torchvision:resnet", "no detector 'resnet' here; valid names: fasterrcnn"),
        ("torchvision", "names no model"),
        ("no/such.py:build", "detector file no/such.py does not exist"),
        ("scenes:device=gpu", "device 'gpu' cannot be used here"),
        ("scenes:w=1", "no option 'w'; valid options: weights"),
        ("scenes:weights=no.pth", "weights file no.pth does not exist"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(SettingError, match=message):
        load_detector(spec)
