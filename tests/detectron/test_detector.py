"""Detectron2's models as detectors of ``salcompress evaluate``."""

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.modeling import build_model

from salcompress.detectron.config import load_config
from salcompress.detectron.detector import Detectron2Detector, load_detectron2_detector
from salcompress.errors import DataError, SettingError
from tests.detectron.commands import CONFIGS

CONFIG = CONFIGS / "scenes_mask_rcnn.yaml"
IDS = (1, 2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory):
    """The slim Mask R-CNN with a threshold of 0: at random weights it finds something."""
    path = tmp_path_factory.mktemp("config") / "sensitive.yaml"
    path.write_text(
        CONFIG.read_text().replace(
            'ROI_HEADS: {NAME: "StandardROIHeads",',
            'ROI_HEADS: {NAME: "StandardROIHeads", SCORE_THRESH_TEST: 0.0,',
        )
    )
    return path


def spec_of(config, weights):
    return f"detectron2:{config},weights={weights},device=cpu"


def test_classes_are_the_data_sets_sorted_ids(sensitive, random_weights, picture):
    spec = spec_of(sensitive, random_weights)
    ids = (3, 7, 20, 41, 42, 90)
    plain = load_detectron2_detector(spec, IDS)(picture)
    renumbered = load_detectron2_detector(spec, ids)(picture)
    assert plain and [found["category_id"] for found in renumbered] == [
        ids[found["category_id"] - 1] for found in plain
    ]
    with pytest.raises(
        SettingError, match=r"finds 6 classes \(MODEL.ROI_HEADS.NUM_CLASSES\).*has 80 categories"
    ):
        load_detectron2_detector(spec, range(1, 81))


@pytest.mark.parametrize("shortest, longest", [(240, 320), (100, 90), (0, 320)])
def test_the_size_that_the_network_sees_is_known(shortest, longest):
    cfg = load_config(str(CONFIG))
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = shortest, longest
    detector, seen = Detectron2Detector(build_model(cfg), cfg, IDS), []
    hook = detector.model.register_forward_pre_hook(
        lambda _, given: seen.append(tuple(given[0][0]["image"].shape[1:]))
    )
    with hook:
        for height, width in ((203, 251), (64, 30), (240, 320)):
            detector(np.zeros((height, width, 3), np.uint8))
            assert detector.input_size(height, width) == seen[-1]


def test_label_and_fingerprint_are_of_specification_and_content(random_weights, tmp_path):
    spec = spec_of(CONFIG, random_weights)
    detector = load_detectron2_detector(spec, IDS)
    assert detector.label == spec
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(open(random_weights, "rb").read())
    moved = load_detectron2_detector(spec_of(CONFIG, elsewhere), IDS)
    assert moved.fingerprint == detector.fingerprint  # of content, never of a path
    other = torch.load(random_weights)
    other["model"]["roi_heads.box_predictor.cls_score.bias"] += 1
    torch.save(other, elsewhere)
    changed = load_detectron2_detector(spec_of(CONFIG, elsewhere), IDS)
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG.read_text().replace("MIN_SIZE_TEST: 240", "MIN_SIZE_TEST: 200"))
    resized = load_detectron2_detector(spec_of(config, random_weights), IDS)
    assert len({d.fingerprint for d in (detector, changed, resized)}) == 3


def test_random_weights_are_not_measured(random_weights, tmp_path):
    with pytest.raises(SettingError, match="MODEL.WEIGHTS is empty, and random weights measure"):
        load_detectron2_detector(f"detectron2:{CONFIG},device=cpu", IDS)
    torch.save({"model": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other.pth are of another model: (\d+) of its \1 param"):
        load_detectron2_detector(spec_of(CONFIG, tmp_path / "other.pth"), IDS)
    part = torch.load(random_weights)["model"]
    part = {name: value for name, value in part.items() if name.startswith("backbone.")}
    torch.save({"model": part}, tmp_path / "backbone.pth")
    with pytest.raises(DataError, match="backbone.pth are of another model: .*proposal_generator"):
        load_detectron2_detector(spec_of(CONFIG, tmp_path / "backbone.pth"), IDS)
    (tmp_path / "bad.pth").write_bytes(b"x")
    with pytest.raises(DataError, match="bad.pth cannot be loaded"):
        load_detectron2_detector(spec_of(CONFIG, tmp_path / "bad.pth"), IDS)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("detectron2:", "names no config"),
        (
            "detectron2:COCO-Detection/yolo.yaml",
            "neither a config file nor a config of Detectron2's model zoo",
        ),
        ("detectron2:COCO-Detection", "neither a config file"),
        (f"detectron2:{CONFIG},weights=no.pth", "weights file no.pth does not exist"),
        (
            f"detectron2:{CONFIGS / 'salient_lazy.py'}",
            "salient_lazy.py is a LazyConfig, and a YAML config is meant.*lazyconfig_train_net",
        ),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(SettingError, match=message):
        load_detectron2_detector(spec, IDS)


@pytest.mark.parametrize(
    "lines, message",
    [
        ("MODEL: {WEIGHT: x}", "mine.yaml is no config of these keys: .*MODEL.WEIGHT"),
        ("MODEL: [", "mine.yaml is no config of these keys"),
        ("MODEL: {META_ARCHITECTURE: YOLO}", "cannot be built: .*YOLO"),
    ],
)
def test_wrong_configs(lines, message, random_weights, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"{lines}\nVERSION: 2\n")
    with pytest.raises(SettingError, match=message):
        load_detectron2_detector(spec_of(path, random_weights), range(80))


def test_test_time_augmentation_is_honoured(sensitive, random_weights, picture, tmp_path):
    config = tmp_path / "augmented.yaml"
    config.write_text(
        sensitive.read_text().replace(
            "TEST: {", "TEST: {AUG: {ENABLED: True, MIN_SIZES: [200], MAX_SIZE: 300}, "
        )
    )
    plain = load_detectron2_detector(spec_of(sensitive, random_weights), IDS)
    augmented = load_detectron2_detector(spec_of(config, random_weights), IDS)
    assert augmented(picture) != plain(picture)
    assert plain.input_size(203, 251) == (240, 297) and augmented.input_size(203, 251) is None
    assert augmented.fingerprint != plain.fingerprint


def test_a_model_that_wants_another_format_is_refused():
    cfg = load_config(str(CONFIG))
    model = build_model(cfg)
    cfg.INPUT.FORMAT = "RGB"
    with pytest.raises(SettingError, match="GeneralizedRCNN has BGR pictures.*told RGB"):
        Detectron2Detector(model, cfg, IDS)
