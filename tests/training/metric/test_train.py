"""Training of the perceptual metric follows its labels."""

import math

import numpy as np
import pytest
import torch

from salcompress.data.scenes import make_scene
from salcompress.errors import DataError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.metric.batches import group_batches, triplet_batches
from salcompress.training.metric.compressed import compress
from salcompress.training.metric.consensus import VOTES
from salcompress.training.metric.distortions import draw
from salcompress.training.metric.groups import Groups
from salcompress.training.metric.judgements import read_triplets
from salcompress.training.metric.outcome import calibrate_scale, finish
from salcompress.training.metric.train import Judge, train_metric
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings


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
    return Groups(
        references,
        versions,
        scores,
        np.zeros((count, 2, 2), bool),
        np.zeros((count, 2), bool),
        np.arange(count),
        "drawn",
    )


def chosen_as_labelled(metric, groups):
    with torch.no_grad():
        batch = next(group_batches(groups, 0, 0, len(groups.references), 2))
        distances = Judge(metric).log_distances(batch)
    return (distances[:, 0] < distances[:, 1]).float().mean().item()


def test_a_short_training_raises_agreement(tmp_path):
    torch.manual_seed(0)
    groups, metric = contrary_groups(), PerceptualMetric()
    before = chosen_as_labelled(metric, groups)
    settings = TrainSettings(Cosine(60), math.inf, tmp_path / "c.ckpt", learning_rate=3e-3)
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
        TrainSettings(Cosine(2), math.inf, tmp_path / "c.ckpt", learning_rate=1e-3),
        crop=48,
    )
    assert result.step == 2 and set(result.weights) == set(PerceptualMetric().state_dict())


def test_scale_is_set_on_any_size():
    metric = PerceptualMetric()
    calibrate_scale(metric, [make_scene(47, k, 70, 90).image for k in range(2)])
    assert torch.isfinite(metric.log_scale)


def test_a_checkpoint_of_other_labels_is_refused(tmp_path):
    groups = contrary_groups(4)
    settings = TrainSettings(Cosine(1), math.inf, tmp_path / "c.ckpt", learning_rate=1e-3)
    train_metric(PerceptualMetric(), groups, settings, mixed_precision=False)
    others = groups._replace(fingerprint="others")
    with pytest.raises(DataError, match="data drawn then, others now"):
        train_metric(PerceptualMetric(), others, settings, mixed_precision=False)
    with pytest.raises(DataError, match="crop 128 then, 64 now"):
        train_metric(PerceptualMetric(), groups, settings, crop=64, mixed_precision=False)
