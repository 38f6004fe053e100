"""The learned metric is a distance that can be used as a loss: zero, symmetric, smooth, the same in
strips.
"""

import numpy as np
import pytest
import torch

from salcompress.codecs import load_codec
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.image import to_tensor
from salcompress.metrics import perceptual
from salcompress.metrics.perceptual import (
    PerceptualMetric,
    perceptual_distance,
    perceptual_distances,
)
from salcompress.models.weight_file import weight_file


@pytest.fixture(scope="module")
def metric():
    return PerceptualMetric.load()


def degraded(image, spec):
    codec = load_codec(spec)
    return codec.decode(codec.encode(image))


def test_zero_for_itself_positive_and_symmetric_for_others(metric, picture):
    assert perceptual_distance(picture, picture) == 0
    for spec in ("jpeg:q=3", "jpeg:q=95", "webp:q=40", "jpeg2000:bpp=0.2"):
        worse = degraded(picture, spec)
        distance = perceptual_distance(picture, worse)
        # a product and its mirror image are equal; only the convolutions' sums may run in another
        # order
        assert 0 < distance == pytest.approx(perceptual_distance(worse, picture), rel=1e-5)


def test_scale_is_readable(picture):
    assert 0.3 < perceptual_distance(picture, degraded(picture, "jpeg:q=3")) < 3
    assert perceptual_distance(picture, degraded(picture, "jpeg:q=95")) < 0.1


def test_one_grey_level_anywhere_costs_something(picture):
    for row, column in ((0, 0), (101, 125), (202, 250)):
        changed = picture.copy()
        changed[row, column] ^= 1
        assert perceptual_distance(picture, changed) > 0


@pytest.mark.parametrize("spec", ["jpeg:q={}", "webp:q={}"])
def test_distance_rises_down_a_ladder(spec):
    """Each step is one that people see: it costs more than a fifth, not a rounding error."""
    for index in range(2):
        scene = make_scene(31, index, 128, 160).image
        versions = [degraded(scene, spec.format(q)) for q in (90, 60, 30, 15, 6)]
        distances = np.array(perceptual_distances(scene, versions))
        assert (distances[1:] > 1.2 * distances[:-1]).all()


def test_gradients_are_finite_and_vanish_only_at_identity(metric):
    reference = to_tensor(make_scene(32, 0, 96, 96).image)
    for offset in (0.0, 1e-6, 1e-3, 0.1):
        image = (
            reference
            + offset * torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
        ).requires_grad_()
        metric.distance(reference, image).sum().backward()
        assert torch.isfinite(image.grad).all()
        assert (image.grad.abs().sum() > 0) == (offset > 0)


def test_near_identity_it_is_a_squared_difference(metric):
    reference = to_tensor(make_scene(32, 1, 96, 96).image).double()
    direction = torch.randn(
        reference.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    exact = PerceptualMetric.load().double()
    near, half = (
        exact.distance(reference, reference + step * direction).item() for step in (1e-4, 5e-5)
    )
    assert near / half == pytest.approx(
        4, rel=0.02
    )  # not 4 exactly: the step is small, not infinitely so


def test_descending_it_finds_the_reference_again(metric):
    """What a codec's training does with it; a metric with dead ends would stop far away."""
    reference = to_tensor(make_scene(32, 2, 64, 64).image)
    image = to_tensor(degraded(make_scene(32, 2, 64, 64).image, "jpeg:q=8")).requires_grad_()
    first_error = (image - reference).square().mean().item()
    optimizer = torch.optim.Adam([image], 3e-3)
    first = None
    for _ in range(60):
        distance = metric.distance(reference, image).sum()
        first = distance.item() if first is None else first
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    assert distance.item() < 0.3 * first
    assert (
        image - reference
    ).square().mean().item() < first_error  # it is not gamed: pixels come nearer, too


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (17, 3), (33, 65), (203, 251)])
def test_any_size(metric, height, width):
    image = make_scene(33, 0, 256, 256).image[:height, :width]
    other = 255 - image
    output = metric(to_tensor(image), to_tensor(other))
    assert output.map.shape == (1, 1, height, width) and (output.map >= 0).all()
    assert output.distance.item() == pytest.approx(perceptual_distance(image, other), rel=1e-5)


def test_mean_of_the_map_is_the_distance(metric):
    scene = make_scene(33, 1, 256, 256).image
    output = metric(to_tensor(scene), to_tensor(degraded(scene, "jpeg:q=10")))
    assert output.map.mean().item() == pytest.approx(
        output.distance.item(), rel=0.02
    )  # enlarging moves a little at the edges


def test_strips_equal_the_whole(metric, picture, monkeypatch):
    worse = degraded(picture, "webp:q=10")
    whole = perceptual_distance(picture, worse)
    monkeypatch.setattr(perceptual, "_STRIP_PIXELS", 64 * 251)  # four strips
    assert perceptual_distance(picture, worse) == pytest.approx(
        whole, rel=1e-5
    )  # float32 sums in another order


def test_wrong_pairs(metric, picture):
    with pytest.raises(SettingError, match="images must have one shape"):
        perceptual_distance(picture, picture[1:])
    with pytest.raises(SettingError, match="image must be a uint8 array"):
        perceptual_distance(picture, picture.astype(float))
    with pytest.raises(ValueError, match=r"must both be \(N, 3, H, W\)"):
        metric(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))


def test_bad_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(SettingError, match="does not exist"):
        PerceptualMetric.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="not a perceptual metric's weights file"):
        PerceptualMetric.load(path)
    stream = bytearray(perceptual.WEIGHTS.read_bytes())
    stream[-1000] ^= 0x40
    path.write_bytes(stream)
    with pytest.raises(DataError, match="do not match their digest|not finite"):
        PerceptualMetric.load(path)
    broken = PerceptualMetric()
    with torch.no_grad():
        broken.stages[0][0].bias[3] = float("nan")
    path.write_bytes(broken.to_bytes())
    with pytest.raises(DataError, match="not finite"):
        PerceptualMetric.load(path)
    other = {"conv.weight": torch.zeros(3)}
    path.write_bytes(weight_file(other))
    with pytest.raises(DataError, match="does not fit the model"):
        PerceptualMetric.load(path)


def test_shipped_weights_are_small():
    assert perceptual.WEIGHTS.stat().st_size < 2e6
