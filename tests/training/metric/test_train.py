"""Training of the perceptual metric follows its labels; labels by agreement are what they claim;
metric-eval reports on both.
"""

import sys

import cv2
import numpy as np
import pytest
import torch

from salcompress.cli.main import main
from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.loop import TrainSettings
from salcompress.training.metric import consensus
from salcompress.training.metric import groups as consensus_groups_module
from salcompress.training.metric.consensus import VOTES, agreement, calibrate
from salcompress.training.metric.distortions import DRAWN, LADDERS, compress, draw
from salcompress.training.metric.evaluation import (
    METRICS,
    Choices,
    Opinion,
    agreements,
    correlations,
)
from salcompress.training.metric.groups import Groups, consensus_groups
from salcompress.training.metric.judgements import read_triplets
from salcompress.training.metric.train import (
    Judge,
    calibrate_scale,
    closer_of,
    finish,
    group_batches,
    train_metric,
    triplet_batches,
)
from salcompress.training.schedule import Cosine


def contrary_groups(count=12, side=64):
    """Groups whose labels say what an untrained metric does not: a strong blur is closer than a
    slight shift of colour.
    """
    references = np.stack([make_scene(41, k, side, side).image for k in range(count)])
    versions = np.stack(
        [
            [draw(r, "blur", 0.9, 0).image, draw(r, "colour_shift", 0.35, k).image]
            for k, r in enumerate(references)
        ]
    )
    scores = np.tile(np.float32([[1.0], [-1.0]]), (count, 1, len(VOTES)))
    return Groups(references, versions, scores, np.zeros((count, 2, 2), bool), np.arange(count))


def chosen_as_labelled(metric, groups):
    with torch.no_grad():
        batch = next(group_batches(groups, 0, 0, len(groups.references), 2))
        distances = Judge(metric).log_distances(batch)
    return (distances[:, 0] < distances[:, 1]).float().mean().item()


def test_a_short_training_raises_agreement(tmp_path):
    torch.manual_seed(0)
    groups, metric = contrary_groups(), PerceptualMetric()
    before = chosen_as_labelled(metric, groups)
    settings = TrainSettings(Cosine(60), 2, tmp_path / "c.ckpt", learning_rate=3e-3)
    result = train_metric(
        metric, groups, settings, num_groups=4, num_versions=2, mixed_precision=False
    )
    path = tmp_path / "w.safetensors"
    write_atomically(path, finish(metric, result, groups))
    trained = PerceptualMetric.load(path)
    assert before < 0.5 and chosen_as_labelled(trained, groups) > 0.8
    # what finish promises of the scale, up to half precision of the weights
    scales = [
        trained.distance(
            *(
                torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255
                for x in (r, compress(r, "jpeg", -1).image)
            )
        ).item()
        for r in groups.references
    ]
    assert np.mean(scales) == pytest.approx(1, rel=0.02)


def test_a_resumed_training_sees_the_same_batches():
    groups = contrary_groups(4)
    batches = group_batches(groups, 1, 0, 2, 2)
    next(batches)
    resumed = next(group_batches(groups, 1, 1, 2, 2))
    assert all(torch.equal(a, b) for a, b in zip(next(batches), resumed))


def test_human_triplets_train(tmp_path):
    for name, image in (
        ("r", make_scene(42, 0, 64, 80).image),
        ("a", make_scene(42, 1, 64, 80).image),
        ("b", make_scene(42, 2, 64, 80).image),
    ):
        write_atomically(tmp_path / f"{name}.png", encode_image(image, "PNG"))
    write_atomically(tmp_path / "t.csv", "reference,a,b,fraction\nr.png,a.png,b.png,0.75\n")
    triplets = read_triplets(tmp_path / "t.csv")
    batch = next(triplet_batches(triplets, 1, 0, 3, 128))
    assert batch.references.shape == (3, 3, 64, 64) and batch.versions.shape == (3, 2, 3, 64, 64)
    assert batch.closer[:, 0, 1].tolist() == [0.75] * 3
    result = train_metric(
        PerceptualMetric(),
        triplets,
        TrainSettings(Cosine(2), 1, tmp_path / "c.ckpt", learning_rate=1e-3),
        crop=48,
    )
    assert result.step == 2 and set(result.weights) == set(PerceptualMetric().state_dict())


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
        5 / 8, abs=1e-5
    )  # three of eight votes are against
    assert torch.allclose(
        agreement(torch.from_numpy(torn), torch.from_numpy(two)), torch.tensor([5 / 8]), atol=1e-5
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


def test_the_fast_ssimulacra2_is_the_packages_but_for_edges(tmp_path, monkeypatch):
    package = pytest.importorskip("ssimulacra2.ssimulacra2")

    def gaussian(x):  # as the package, which turns pictures by a quarter: black left and right
        padded = cv2.copyMakeBorder(x, 0, 0, 5, 5, cv2.BORDER_CONSTANT, value=0)
        return cv2.GaussianBlur(padded, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)[:, 5:-5]

    scene = make_scene(44, 0, 256, 320).image
    write_atomically(tmp_path / "r.png", encode_image(scene, "PNG"))
    monkeypatch.setattr(consensus, "_gaussian", gaussian)
    for step in (1, 10):
        worse = compress(scene, "jpeg", step).image
        write_atomically(tmp_path / "d.png", encode_image(worse, "PNG"))
        expected = package.compute_ssimulacra2(str(tmp_path / "r.png"), str(tmp_path / "d.png"))
        found = consensus.ssimulacra2(
            *(x.astype(np.float32) / 255 for x in (scene, worse)), package.weights
        )
        assert found == pytest.approx(expected, abs=0.05)  # float32 against float64


def test_groups_are_made_once_and_scored_by_published_metrics(tmp_path, monkeypatch):
    pytest.importorskip("piq")
    pytest.importorskip("ssimulacra2")
    write_atomically(tmp_path / "p.png", encode_image(make_scene(48, 0, 96, 128).image, "PNG"))
    groups = consensus_groups([tmp_path / "p.png"], tmp_path / "cache", crop=96)
    assert groups.references.shape == (1, 96, 96, 3) and groups.versions.shape == (1, 13, 96, 96, 3)
    better, worse = np.nonzero(groups.certain[0])
    assert len(better) >= 4  # two settings of each of four codecs
    votes = agreement(groups.scores[0][better], groups.scores[0][worse])
    assert (votes > 0.5).mean() > 0.9  # what is certain, the metrics nearly always see
    monkeypatch.setattr(consensus_groups_module, "_make", None)
    again = consensus_groups([tmp_path / "p.png"], tmp_path / "cache", crop=96)
    assert np.array_equal(again.versions, groups.versions)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "piq", None)
    picture = torch.zeros(1, 3, 64, 64)
    with pytest.raises(
        SettingError, match=r"piq, which is not installed: pip install 'salcompress\[train\]'"
    ):
        consensus.scores(picture, picture)


def test_metric_eval_of_a_small_table(tmp_path, capsys):
    lines = ["reference,a,b,fraction"]
    scores = ["reference,image,score,group"]
    for index in range(3):
        scene = make_scene(45, index).image
        for name, image in (
            ("r", scene),
            ("good", compress(scene, "jpeg", 2).image),
            ("fair", compress(scene, "jpeg", 7).image),
            ("bad", compress(scene, "jpeg", 11).image),
        ):
            write_atomically(tmp_path / f"{name}{index}.png", encode_image(image, "PNG"))
        lines.append(f"r{index}.png,bad{index}.png,good{index}.png,0.1")
        scores += [
            f"r{index}.png,{name}{index}.png,{score},jpeg"
            for name, score in (("good", 80), ("fair", 50), ("bad", 20))
        ]
    write_atomically(tmp_path / "t.csv", "\n".join(lines))
    write_atomically(tmp_path / "s.csv", "\n".join(scores))
    assert (
        main(
            [
                "metric-eval",
                "--triplets",
                str(tmp_path / "t.csv"),
                "--scores",
                str(tmp_path / "s.csv"),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    for name in METRICS:
        assert (
            f"| {name} | 0.900 (too few pictures) |" in printed
        )  # nine of ten judges say what is plain to see
    assert "rank correlation with 9 opinion scores, higher is better" in printed
    assert main(["metric-eval", "--scores", str(tmp_path / "s.csv"), "--lower-is-better"]) == 0
    assert "| learned | -0." in capsys.readouterr().out


def test_metric_eval_says_what_is_wrong(tmp_path, capsys):
    assert main(["metric-eval"]) == 2
    assert "needs --images, --triplets, --bapps or --scores" in capsys.readouterr().err
    write_atomically(tmp_path / "t.csv", "reference,a,b,fraction\nx.png,y.png,z.png,0.5\n")
    assert main(["metric-eval", "--triplets", str(tmp_path / "t.csv")]) == 1
    assert "line 2: reference 'x.png' does not exist" in capsys.readouterr().err


def test_agreement_counts_ties_and_missing_values():
    a = np.array([[30.0, 0.9, np.nan, -0.1]] * 6)
    b = np.array([[20.0, 0.9, 0.5, -0.2], [40.0, 0.9, 0.5, -0.2]] * 3)
    found = agreements(Choices(a, b, np.full(6, 0.8), np.zeros(6, bool), np.arange(6)))
    assert found["PSNR"].share == pytest.approx(0.5) and found["SSIM"].share == pytest.approx(
        0.5
    )  # half right; all ties
    assert (
        found["MS-SSIM"] is None
        and found["learned"].share == pytest.approx(0.8) == found["best possible"].share
    )
    assert found["PSNR"].lead[1] > 0
    few = agreements(
        Choices(a, b, np.full(6, 0.8), np.zeros(6, bool), np.arange(6) % 2)
    )  # two pictures: no interval is claimed
    assert (
        few["PSNR"].share == found["PSNR"].share
        and few["PSNR"].interval is None
        and few["PSNR"].lead is None
    )


def test_correlation_needs_an_order(tmp_path):
    write_atomically(tmp_path / "r.png", encode_image(make_scene(46, 0).image, "PNG"))
    opinion = Opinion(tmp_path / "r.png", tmp_path / "r.png", 5.0, "")
    with pytest.raises(SettingError, match="at least three scores that are not all equal"):
        correlations([opinion] * 4, PerceptualMetric(), False)


def test_scale_is_set_on_any_size():
    metric = PerceptualMetric()
    calibrate_scale(metric, [make_scene(47, k, 70, 90).image for k in range(2)])
    assert torch.isfinite(metric.log_scale)
