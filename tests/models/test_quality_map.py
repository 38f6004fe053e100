"""Saliency moves levels, levels move gains."""

import numpy as np
import pytest
import torch

from salcompress.errors import SettingError
from salcompress.models.quality_map import Gain, allocate_levels, block_means


def test_levels_follow_quality_and_saliency():
    flat = np.full((3, 4), 0.7)
    assert np.unique(allocate_levels(0, flat, 9)).tolist() == [0] and np.unique(
        allocate_levels(1, flat, 9)
    ).tolist() == [63]
    saliency = np.zeros((3, 4))
    saliency[1, 1] = 1
    levels = allocate_levels(0.5, saliency, 10)
    # bits move, they are not added
    assert levels[1, 1] - levels[0, 0] == 10 and abs(levels.mean() - 31.5) < 0.6
    assert np.array_equal(allocate_levels(0.5, saliency, 0), np.full((3, 4), 32))


@pytest.mark.parametrize("quality", [0, 0.05, 0.3, 0.9, 1])
def test_strength_moves_levels_and_does_not_add_them_at_the_ends_of_the_range_either(quality):
    saliency = np.random.default_rng(0).random((9, 11)) ** 3
    for strength in (6, 24, 64):
        levels = allocate_levels(quality, saliency, strength)
        assert abs(levels.mean() - quality * 63) < 0.3  # but for rounding
        assert (np.diff(levels.reshape(-1)[saliency.reshape(-1).argsort()].astype(int)) >= 0).all()


def test_levels_rise_with_quality_in_every_cell():
    saliency = np.random.default_rng(1).random((5, 7))
    levels = np.stack([allocate_levels(q, saliency, 24) for q in np.linspace(0, 1, 64)]).astype(int)
    assert (np.diff(levels, axis=0) >= 0).all()


def test_levels_stay_in_range():
    assert set(allocate_levels(1, np.eye(3), 60).reshape(-1)) <= set(range(64))


@pytest.mark.parametrize(
    "quality, saliency, strength, message",
    [
        (1.1, np.zeros((1, 1)), 1, "quality must be in"),
        (float("nan"), np.zeros((1, 1)), 1, "quality must be in"),
        (0.5, np.full((1, 1), 2.0), 1, "saliency must be"),
        (0.5, np.full((1, 1), np.nan), 1, "saliency must be"),
        (0.5, np.zeros(3), 1, "saliency must be"),
        (0.5, np.zeros((1, 1)), -1, "saliency_strength must be in"),
    ],
)
def test_wrong_values(quality, saliency, strength, message):
    with pytest.raises(SettingError, match=message):
        allocate_levels(quality, saliency, strength)


def test_means_ignore_padding():
    saliency = np.ones((70, 130), np.float32)
    saliency[:64, :64] = 0
    assert block_means(saliency, 2, 3, 64).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert block_means(np.ones((1, 1), np.float32), 1, 1, 64).tolist() == [[1]]
    places = block_means(saliency, 8, 12, 16)
    assert places[:4, :4].max() == 0 and places[4:].min() == 1 and places.shape == (8, 12)


def test_gain_is_interpolated_and_monotone_at_the_start():
    gains = Gain(2, 3.0)(torch.arange(64).reshape(1, 1, 8, 8), 1)[0, 0].flatten().detach()
    assert gains[0] == pytest.approx(2**-1.5, rel=1e-5) and gains[63] == pytest.approx(
        2**1.5, rel=1e-5
    )
    assert (gains.diff() > 0).all()
