"""Laws of a detector's features: they are those that the detector itself sees."""

import numpy as np
import pytest
import torch

from salcompress.detectors import load_detector
from salcompress.detectors.features import DetectorFeatures, load_features
from salcompress.errors import DataError, SettingError
from salcompress.image import to_tensor
from tests.conftest import SHARED

SCENES = "scenes:device=cpu"
EXTERNAL = """
import torch
from salcompress.detectors.scenes import load_scene_network
def build():
    model, calls = load_scene_network().eval(), []
    def detect(image):
        with torch.no_grad():
            model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
        calls.append(image.shape)
        return []
    detect.calls = calls
    return detect
def fails():
    model = load_scene_network()
    def detect(image):
        raise RuntimeError("no such picture")
        return model
    return detect
def blind():
    model = load_scene_network()
    return lambda image: [] if model else None
"""


def watched(features, look):
    """What the backbone is given while a function runs."""
    came = []
    hook = features.network.backbone.register_forward_pre_hook(lambda module, x: came.append(x[0]))
    look()
    hook.remove()
    return came[-1]  # an earlier one asked for the size


@pytest.mark.parametrize("size", [(203, 251), (480, 640), (91, 30)])
def test_the_backbone_is_given_what_the_detector_gives_it(picture, size):
    image = np.resize(picture, (*size, 3)) if size != picture.shape[:2] else picture
    detector = load_detector(SCENES)
    features = DetectorFeatures(detector)
    own = watched(features, lambda: detector(image))
    ours = watched(features, lambda: features(to_tensor(image)))
    assert ours.shape == own.shape
    # torchvision resizes without a filter against aliasing, and scales by its own factor, so
    # that what is enlarged agrees but for a fraction of a pixel
    if size[0] < 240:
        assert (ours - own).abs().mean() < 0.05 * own.std()


def test_a_detector_of_a_file_tells_its_size_by_what_comes_to_its_backbone(tmp_path, picture):
    (tmp_path / "mine.py").write_text(EXTERNAL)
    features = load_features(f"{tmp_path / 'mine.py'}:build")
    known = load_features(SCENES)
    for size in ((240, 320), (480, 640), (203, 251), (640, 480)):
        assert np.abs(np.subtract(features.seen_size(*size), known.seen_size(*size))).max() == 0
    # no detector ran to its end for it
    assert features._detector.detect.calls == []
    assert features(to_tensor(picture)).keys() == known(to_tensor(picture)).keys()


def test_features_are_differentiable_in_the_picture(picture):
    features = load_features(SCENES)
    seen = to_tensor(picture).requires_grad_()
    with torch.enable_grad():
        sum(value.square().mean() for value in features(seen).values()).backward()
    assert seen.grad.isfinite().all() and seen.grad.abs().mean() > 0
    assert not any(p.requires_grad for p in features.network.parameters())


def test_a_large_picture_is_seen_at_a_bounded_size(monkeypatch):
    monkeypatch.setattr("salcompress.detectors.features.MOST_PIXELS", 10_000)
    height, width = load_features(SCENES).seen_size(480, 640)
    assert 9_000 < height * width <= 10_000 and width / height == pytest.approx(4 / 3, rel=0.03)


def test_crops_are_seen_at_a_scale_of_their_own():
    assert load_features(SCENES, scale=0.5).seen_size(63, 128) == (32, 64)
    with pytest.raises(SettingError, match="scale must be above 0, got 0"):
        load_features(SCENES, scale=0)


def test_a_detector_without_features_is_refused(tmp_path):
    (tmp_path / "plain.py").write_text("def build():\n    return lambda image: []\n")
    with pytest.raises(SettingError, match="plain.py:build has no features: it holds no torch"):
        load_features(f"{tmp_path / 'plain.py'}:build")


@pytest.mark.parametrize(
    "factory, message",
    [
        ("fails", "fails for a picture of 48x64 pixels: RuntimeError: no such picture"),
        ("blind", "saw nothing of a picture of 48x64 pixels"),
    ],
)
def test_a_detector_that_does_not_look_is_named(tmp_path, factory, message):
    (tmp_path / "mine.py").write_text(EXTERNAL)
    with pytest.raises(DataError, match=message):
        load_features(f"{tmp_path / 'mine.py'}:{factory}").seen_size(48, 64)


def test_a_detectron2_model_is_given_what_it_gives_itself(picture):
    pytest.importorskip("detectron2")
    tool = SHARED / "tools" / "mask_rcnn_nano.py"
    if not tool.is_file():
        pytest.skip("needs shared/tools/mask_rcnn_nano.py beside the checkout")
    detector = load_detector(f"{tool}:build")
    features = DetectorFeatures(detector)
    assert features.seen_size(480, 640) == (336, 448)
    own = watched(features, lambda: detector(picture))
    ours = watched(features, lambda: features(to_tensor(picture)))
    # its filter is Pillow's, in 8 bits
    assert ours.shape == own.shape and (ours - own).abs().mean() < 0.5
