"""Labels by agreement are what they claim, and so are the versions that are labelled."""

import sys

import cv2
import numpy as np
import pytest
import torch

from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.training.metric import consensus, ssimulacra2
from salcompress.training.metric import groups as consensus_groups_module
from salcompress.training.metric.batches import closer_of
from salcompress.training.metric.compressed import (
    CERTAIN_STEPS,
    LADDERS,
    NEAR_THRESHOLD,
    codec_of,
    compress,
    near_threshold_versions,
)
from salcompress.training.metric.consensus import VOTES, agreement, calibrate
from salcompress.training.metric.distortions import DRAWN, draw
from salcompress.training.metric.groups import consensus_groups


def test_calibration_makes_metrics_comparable():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(500)
    values = np.stack(
        [truth, np.exp(5 * truth), 1 / (1 + np.exp(-9 * truth))], 1
    )  # one order on three scales
    calibrated = calibrate(values)
    assert np.allclose(
        calibrated, calibrated[:, :1], atol=1e-5
    ) and calibrated.std() == pytest.approx(1, abs=0.02)


def test_agreement_is_a_share_of_votes():
    one, two = np.ones((1, len(VOTES)), np.float32), -np.ones((1, len(VOTES)), np.float32)
    assert agreement(one, two) == pytest.approx(1, abs=1e-5) and agreement(
        one, one
    ) == pytest.approx(0.5)
    torn = one.copy()
    torn[0, list(VOTES).index("ssimulacra2")] = -3
    assert agreement(torn, two) == pytest.approx(
        8 / 11, abs=1e-5
    )  # three of eleven votes are against
    assert torch.allclose(
        agreement(torch.from_numpy(torn), torch.from_numpy(two)), torch.tensor([8 / 11]), atol=1e-5
    )


def test_certain_order_overrules_votes():
    scores = np.zeros((2, len(VOTES)), np.float32)
    certain = np.array([[False, True], [False, False]])
    assert closer_of(scores, certain).tolist() == [[0.5, 1.0], [0.0, 0.5]]


@pytest.mark.parametrize("family", list(DRAWN))
def test_a_drawn_distortion_grows_with_its_strength(family):
    scene = make_scene(43, 0).image
    errors = [
        np.square(draw(scene, family, strength, 5).image.astype(float) - scene).mean()
        for strength in (0.05, 0.3, 0.6, 1)
    ]
    assert errors[0] > 0 and all(np.diff(errors) > 0)


def test_ladders_go_down():
    for family in ("jpeg", "jpeg444", "webp"):
        scene = make_scene(43, 1).image
        errors = [
            np.square(compress(scene, family, step).image.astype(float) - scene).mean()
            for step in range(0, len(LADDERS[family]), 2)
        ]
        assert all(np.diff(errors) > 0)


@pytest.mark.parametrize("family", list(NEAR_THRESHOLD))
def test_what_is_certain_near_threshold_has_the_larger_error(family):
    scene = make_scene(43, 1).image
    steps = range(0, len(NEAR_THRESHOLD[family]), CERTAIN_STEPS)
    made = [compress(scene, family, step) for step in steps]
    errors = [np.square(version.image.astype(float) - scene).mean() for version in made]
    assert all(np.diff(errors) > 0) and all(version.near_threshold for version in made)


def test_versions_near_threshold_are_of_about_equal_bits():
    """Encoders and subsamplings are told apart where none of them has more bits to spend."""
    scene = make_scene(43, 2, 128, 160).image
    made = near_threshold_versions(scene, np.random.default_rng(3), 4)
    families = [version.family for version in made]
    assert len(made) == 5 and len(set(families)) == 4 and families[0] == families[-1]
    assert abs(made[0].level - made[-1].level) >= CERTAIN_STEPS
    first, *others = (
        len(codec_of(NEAR_THRESHOLD[version.family][int(version.level)]).encode(scene))
        for version in made[:4]
    )
    assert all(0.7 < other / first < 1.4 for other in others)
    assert len({version.image.tobytes() for version in made}) == 5


def test_near_threshold_is_jpeg_from_60_to_95():
    scene = make_scene(43, 1).image
    near = [compress(scene, "jpeg444", step).near_threshold for step in range(5)]
    assert near == [True, True, True, True, False]  # 92, 85, 77, 68, 58
    assert not compress(scene, "webp", 2).near_threshold
    assert not draw(scene, "blur", 0.1, 0).near_threshold


def test_cvvdp_scores_as_its_package_does_and_falls_with_quality():
    pytest.importorskip("piq")
    pycvvdp = pytest.importorskip("pycvvdp")
    scene = make_scene(44, 1, 96, 96).image
    worse = [compress(scene, "jpeg", step).image for step in (1, 6, 11)]
    pictures = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (scene, *worse)]
    found = consensus.scores(pictures[0].expand(3, -1, -1, -1), torch.stack(pictures[1:]))
    by_cvvdp = found[:, list(VOTES).index("cvvdp")]
    assert 10 > by_cvvdp[0] > by_cvvdp[1] > by_cvvdp[2]  # in units of just objectionable difference
    package = pycvvdp.cvvdp(display_name=consensus.DISPLAY, device=torch.device("cpu"), quiet=True)
    expected, _ = package.predict(worse[1], scene, dim_order="HWC")
    assert float(by_cvvdp[1]) == pytest.approx(float(expected), abs=1e-4)


def test_the_fast_ssimulacra2_is_the_packages_but_for_edges(tmp_path, monkeypatch):
    package = pytest.importorskip("ssimulacra2.ssimulacra2")

    def gaussian(x):  # as the package, which turns pictures by a quarter: black left and right
        padded = cv2.copyMakeBorder(x, 0, 0, 5, 5, cv2.BORDER_CONSTANT, value=0)
        return cv2.GaussianBlur(padded, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)[:, 5:-5]

    scene = make_scene(44, 0, 256, 320).image
    write_atomically(tmp_path / "r.png", encode_image(scene, "PNG"))
    monkeypatch.setattr(ssimulacra2, "_gaussian", gaussian)
    for step in (1, 10):
        worse = compress(scene, "jpeg", step).image
        write_atomically(tmp_path / "d.png", encode_image(worse, "PNG"))
        expected = package.compute_ssimulacra2(str(tmp_path / "r.png"), str(tmp_path / "d.png"))
        found = ssimulacra2.ssimulacra2(
            *(x.astype(np.float32) / 255 for x in (scene, worse)), package.weights
        )
        assert found == pytest.approx(expected, abs=0.05)  # float32 against float64


def test_groups_are_made_once_and_scored_by_published_metrics(tmp_path, monkeypatch):
    for package in ("piq", "ssimulacra2", "pycvvdp", "pyjpegli"):
        pytest.importorskip(package)
    write_atomically(tmp_path / "p.png", encode_image(make_scene(48, 0, 96, 128).image, "PNG"))
    groups = consensus_groups([tmp_path / "p.png"], tmp_path / "cache", crop=96)
    assert groups.references.shape == (1, 96, 96, 3) and groups.versions.shape == (1, 18, 96, 96, 3)
    better, worse = np.nonzero(groups.certain[0])
    assert len(better) >= 5  # two settings of each of four codecs, and of one near threshold
    assert 5 <= groups.near_threshold.sum() < 9
    votes = agreement(groups.scores[0][better], groups.scores[0][worse])
    assert (votes > 0.5).mean() > 0.9  # what is certain, the metrics nearly always see
    monkeypatch.setattr(consensus_groups_module, "_make", None)
    again = consensus_groups([tmp_path / "p.png"], tmp_path / "cache", crop=96)
    assert np.array_equal(again.versions, groups.versions)


@pytest.mark.parametrize("package", ["piq", "pycvvdp"])
def test_a_missing_package_is_named(monkeypatch, package):
    if package != "piq":
        pytest.importorskip("piq")  # which is asked for first
    monkeypatch.setitem(sys.modules, package, None)
    consensus._packages.cache_clear()
    picture = torch.zeros(1, 3, 64, 64)
    with pytest.raises(
        SettingError,
        match=package + r", which is not installed: pip install 'salcompress\[train\]'",
    ):
        consensus.scores(picture, picture)
