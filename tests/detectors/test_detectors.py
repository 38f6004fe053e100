"""Detectors by specification, and what they return."""

import numpy as np
import pytest
import torch
import torchvision
from pycocotools import mask as mask_util
from safetensors.torch import save_file

from salcompress.data.coco import COCO_CATEGORY_IDS, load_dataset
from salcompress.data.scenes import write_scenes
from salcompress.detectors import load_detector
from salcompress.detectors.scenes import (
    WEIGHTS,
    build_model,
    load_scene_network,
    save_scene_network,
)
from salcompress.detectors.torchvision import TorchvisionDetector
from salcompress.errors import DataError, SettingError
from salcompress.image import read_image
from salcompress.metrics.average_precision import average_precision


@pytest.fixture(scope="module")
def scene_detector():
    return load_detector("scenes", range(1, 7))


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


def test_the_size_that_the_network_sees_is_that_of_torchvisions_own_transform(scene_detector):
    fixed = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2
    )
    several = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=(120, 200), max_size=210
    )
    for detector in (
        scene_detector,
        TorchvisionDetector(fixed, (1,), "fixed", "cpu"),
        TorchvisionDetector(several, (1,), "several", "cpu"),
    ):
        for height, width in ((240, 320), (203, 251), (1, 7), (333, 40)):
            images, _ = detector.model.transform([torch.rand(3, height, width)])
            assert detector.input_size(height, width) == tuple(images.image_sizes[0])
    assert scene_detector.input_size(480, 640) == (240, 320)
    other = TorchvisionDetector(torch.nn.Identity(), (1,), "other", "cpu")
    assert other.input_size(480, 640) is None


def test_shipped_weights_keep_their_promise():
    assert WEIGHTS.stat().st_size < 4e6
    assert sum(p.numel() for p in build_model().parameters()) <= 2e6
    assert f"## {WEIGHTS.name}" in WEIGHTS.with_name("README.md").read_text()


def test_a_picture_without_objects(scene_detector):
    assert isinstance(scene_detector(np.zeros((1, 1, 3), np.uint8)), list)


NANO = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"


def random_state(num_labels):
    torch.manual_seed(0)
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    return fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=num_labels
    ).state_dict()


def test_torchvision_with_weights_of_a_file(tmp_path, picture):
    """Class k is the k-th of the data set's ids; the fingerprint is of content."""
    state, ids = random_state(4), (0, 7, 300)
    detectors = []
    for name, write in (("w.pth", torch.save), ("w.safetensors", save_file)):
        write(state, tmp_path / name)
        spec = f"{NANO},weights={tmp_path / name},device=cpu"
        detectors.append(load_detector(spec, ids))
        assert detectors[-1].label == spec
        assert list(detectors[-1].categories) == [0, 7, 300]
        assert isinstance(detectors[-1](picture), list)
        with pytest.raises(SettingError, match="has 3 classes, and the data set has 80 categories"):
            load_detector(spec, COCO_CATEGORY_IDS)
    assert detectors[0].fingerprint == detectors[1].fingerprint
    state["rpn.head.cls_logits.bias"][0] += 1
    torch.save(state, tmp_path / "w.pth")
    assert load_detector(f"{NANO},weights={tmp_path / 'w.pth'}", ids).fingerprint not in {
        detector.fingerprint for detector in detectors
    }


def test_labels_of_the_official_weights_are_coco_ids(tmp_path):
    """Also of a file of them: 90 labels, of which COCO's 80 categories have theirs."""
    torch.save(random_state(91), tmp_path / "official.pth")
    spec = f"{NANO},weights={tmp_path / 'official.pth'},device=cpu"
    for ids in (COCO_CATEGORY_IDS, (1, 17, 18)):
        assert list(load_detector(spec, ids).categories) == list(range(1, 91))
    for refused in (spec, NANO):
        with pytest.raises(SettingError, match="3 categories, of which id 12 is none of COCO's"):
            load_detector(refused, (1, 12, 18))
    many = range(1000, 1090)  # a data set of 90 categories of its own
    assert list(load_detector(spec, many).categories) == list(many)


def test_official_weights_that_cannot_be_had_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        DataError, match=r"cannot be downloaded.*torchvision:maskrcnn_resnet50_fpn,weights=FILE"
    ):
        load_detector("torchvision:maskrcnn_resnet50_fpn", COCO_CATEGORY_IDS)


def test_damaged_and_foreign_weights(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=f"{name}: not a weights file"):
            load_detector(f"{NANO},weights={tmp_path / name}", (1,))
    with pytest.raises(DataError, match="holds no weights|does not fit"):
        load_detector(f"{NANO},weights={WEIGHTS}", range(1, 7))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="x.safetensors does not fit the model"):
        load_detector(f"scenes:weights={tmp_path / 'x.safetensors'}", range(1, 7))


def test_weights_are_never_unpickled(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"model": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(DataError, match="bad.pth: not a weights file"):
        load_detector(f"{NANO},weights={tmp_path / 'bad.pth'}", (1,))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "spec, message",
    [
        ("yolo", "unknown detector 'yolo'; valid: scenes"),
        ("torchvision:resnet", "no detector 'resnet' here; valid names: fasterrcnn"),
        ("torchvision", "names no model"),
        ("no/such.py:build", "detector file no/such.py does not exist"),
        ("torchvision:", "names no model"),
        ("scenes:large", "takes no name, got 'large'"),
        (None, "must be text, got NoneType"),
        ("scenes:device=gpu", "device 'gpu' cannot be used here"),
        ("scenes:w=1", "no option 'w'; valid options: weights"),
        ("scenes:weights=no.pth", "weights file no.pth does not exist"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(SettingError, match=message):
        load_detector(spec, range(1, 7))


def test_scenes_on_other_data_is_refused():
    with pytest.raises(
        SettingError, match="scenes has 6 classes, and the data set has 80 categories"
    ):
        load_detector("scenes", COCO_CATEGORY_IDS)


def test_scene_classes_are_the_data_sets_in_their_order(scene_detector, scene_dataset):
    image = read_image(scene_dataset.images[0].path)
    ids = (0, 3, 20, 21, 500, 501)
    moved = load_detector("scenes:device=cpu", ids)
    assert [found["category_id"] for found in moved(image)] == [
        ids[found["category_id"] - 1] for found in scene_detector(image)
    ]
    assert moved.label == "scenes:device=cpu"


def test_a_copy_of_the_weights_has_their_fingerprint(scene_detector, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(WEIGHTS.read_bytes())
    assert (
        load_detector(f"scenes:weights={copy}", range(1, 7)).fingerprint
        == scene_detector.fingerprint
    )


def test_the_shipped_weights_are_saved_as_the_same_bytes_again():
    assert save_scene_network(load_scene_network().state_dict()) == WEIGHTS.read_bytes()


def test_every_loader_is_there():
    """What is not installed is named with the way to install it."""
    import importlib

    from salcompress.detectors import LOADERS

    for name, place in LOADERS.items():
        module, _, function = place.partition(":")
        try:
            assert callable(getattr(importlib.import_module(module), function))
        except ModuleNotFoundError as error:
            with pytest.raises(
                SettingError, match=f"needs {name.title()}, which is not installed: https://"
            ):
                load_detector(f"{name}:any.yaml", (1,))
            assert error.name.partition(".")[0] == name


def test_a_missing_package_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "detectron2", None)
    for name in [name for name in sys.modules if name.startswith("salcompress.detectron.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "salcompress.detectron", raising=False)
    with pytest.raises(SettingError, match="needs Detectron2, which is not installed: https://"):
        load_detector("detectron2:any.yaml", (1,))
