"""Laws of the importance of places for a detector."""

import pickle

import numpy as np
import pytest
import torch

from salcompress.cli.main import main
from salcompress.codecs import load_codec
from salcompress.detectors.feature_distance import feature_distance
from salcompress.detectors.features import load_features
from salcompress.detectors.importance import cell_importance, load_importance, log_scaled
from salcompress.errors import SettingError
from salcompress.image import encode_image, read_image, to_tensor

SCENES = "scenes:device=cpu"
BACKBONE = """
from torch import nn
class Backbone(nn.Module):
    def forward(self, x):
        return {RETURNED}
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.weight = Backbone(), nn.Parameter(__import__("torch").ones(1))
        self.pixel_mean, self.pixel_std = [0.0] * 3, [1.0] * 3
class Detector:
    def __init__(self):
        self.model = Model()
    def input_size(self, height, width):
        return height, width
    def __call__(self, image):
        return []
"""


def detector(folder, returned):
    """Specification of a detector whose backbone returns what an expression of x says."""
    (folder / "mine.py").write_text(BACKBONE.replace("{RETURNED}", returned))
    return f"{folder / 'mine.py'}:Detector"


def test_importance_says_how_features_change(picture):
    """Noise in important cells changes the features more, by about what their importance says."""
    features = load_features(SCENES)
    image = np.ascontiguousarray(picture[:192, :192])
    importance = cell_importance(features, image, 64)
    assert importance.shape == (3, 3) and importance.min() > 0
    assert np.array_equal(importance, cell_importance(features, image, 64))
    wanted = features(to_tensor(image))
    side = features.seen_size(192, 192)[0] // 3
    changes = np.zeros((3, 3))
    shown = features.shown(to_tensor(image))
    noise = torch.randn(shown.shape, generator=torch.Generator().manual_seed(0)) * 0.001
    for row, column in np.ndindex(3, 3):
        within = torch.zeros_like(noise)
        place = (
            ...,
            slice(side * row, side * row + side),
            slice(side * column, side * column + side),
        )
        within[place] = noise[place]
        changes[row, column] = feature_distance(features.of_shown(shown + within), wanted)
    # four projections, one noise, and ReLUs that bend: some 30 % to either side
    assert np.abs(np.log(changes / importance) - np.log(changes / importance).mean()).max() < 0.5


def test_the_map_is_logarithmic_and_of_cells(picture):
    saliency = load_importance(SCENES)(picture)
    assert saliency.shape == picture.shape[:2] and saliency.dtype == np.float32
    assert 0 <= saliency.min() < saliency.max() <= 1
    assert (saliency[:64, :64] == saliency[0, 0]).all()
    importance = np.array([[1.0, 2.0, 4.0]])
    assert np.allclose(np.diff(log_scaled(importance)), np.diff(log_scaled(7 * importance)))
    assert np.ptp(np.diff(log_scaled(importance))) == pytest.approx(0, abs=1e-12)
    assert np.array_equal(log_scaled(np.zeros((2, 3))), np.full((2, 3), 0.5))
    assert np.isfinite(log_scaled(np.array([[0.0, 1.0]]))).all()


@pytest.mark.parametrize("shape", [(64, 64), (63, 65), (20, 130)])
def test_any_size_gives_a_map_in_range(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    saliency = load_importance(SCENES)(image)
    assert saliency.shape == shape and saliency.min() >= 0 and saliency.max() <= 1


def test_it_is_computed_under_inference_mode(picture):
    with torch.inference_mode():
        within = load_importance(SCENES)(picture)
    assert np.array_equal(within, load_importance(SCENES)(picture))


def test_a_codec_is_steered_by_a_specification(tmp_path, picture):
    codec = load_codec(f"salient:q=0.3,saliency=importance:{SCENES},device=cpu")
    assert codec.setting == f'q=0.3,saliency="importance:{SCENES}",saliency_strength=24'
    assert load_codec(codec.label).fingerprint == codec.fingerprint
    assert "importance@" in codec.fingerprint and SCENES not in codec.fingerprint
    assert np.unique(codec.levels_of(picture)).size > 1
    stream = codec.encode(picture)
    assert pickle.loads(pickle.dumps(codec)).encode(picture) == stream
    assert load_codec("salient").decode(stream).shape == picture.shape
    quoted = load_codec(f"salient:saliency='importance:{SCENES},weights={scenes_copy(tmp_path)}'")
    assert load_codec(quoted.label).fingerprint == quoted.fingerprint
    assert quoted.fingerprint == codec.with_quality(0.5).fingerprint  # of content, not of a path


def scenes_copy(folder):
    from salcompress.detectors.scenes import WEIGHTS

    (folder / "copy.safetensors").write_bytes(WEIGHTS.read_bytes())
    return folder / "copy.safetensors"


@pytest.mark.parametrize(
    "saliency, message",
    [
        ("importance", "one of network, classical, uniform, importance:DETECTOR"),
        ("importance:", "one of network, classical, uniform, importance:DETECTOR"),
        ("elsewhere:scenes", "one of network, classical, uniform, importance:DETECTOR"),
        ("importance:nonsense", "unknown detector 'nonsense'"),
        ("importance:nowhere.py:build", "nowhere.py does not exist"),
    ],
)
def test_wrong_sources_are_refused(saliency, message):
    with pytest.raises(SettingError, match=message):
        load_codec(f"salient:saliency={saliency}")


@pytest.mark.parametrize(
    "returned, message",
    [
        ("{'p': (x.sum() * 0).sqrt() + x}", "gradient of the features .* is not finite"),
        ("{'p': x.detach()}", "have no gradient with respect to the picture"),
        ("{'p': x * float('nan')}", "gradient of the features .* is not finite"),
    ],
)
def test_a_backbone_without_finite_gradients_is_refused(tmp_path, picture, returned, message):
    codec = load_codec(f"salient:saliency=importance:{detector(tmp_path, returned)}")
    with pytest.raises(SettingError, match=message):
        codec.encode(picture)


def test_the_command_draws_the_map(tmp_path, picture, capsys):
    (tmp_path / "x.png").write_bytes(encode_image(picture, "PNG"))
    arguments = ["saliency", str(tmp_path / "x.png"), str(tmp_path / "map.png"), "--method"]
    assert main([*arguments, f"importance:{SCENES}"]) == 0
    drawn = read_image(tmp_path / "map.png")[..., 0] / 255
    assert np.abs(drawn - load_importance(SCENES)(picture)).max() < 0.01
    assert main([*arguments, "elsewhere"]) != 0
    assert "saliency must be one of network, classical" in capsys.readouterr().err
