"""Measures of saliency maps on cases whose answer is known."""

import numpy as np
import pytest

from salcompress.errors import SettingError
from salcompress.metrics.saliency_scores import (
    SaliencyScores,
    f_beta,
    mean_scores,
    s_measure,
    score_saliency,
)

MASK = np.zeros((40, 61), bool)
MASK[8:25, 10:33] = True


def test_a_perfect_map():
    assert score_saliency(MASK.astype(np.float32), MASK) == pytest.approx((1, 0, 1), abs=1e-12)


def test_an_inverted_map():
    scores = score_saliency(1.0 - MASK, MASK)
    assert scores.f_beta == 0 and scores.mae == 1 and scores.s_measure == 0  # below 0 counts as 0


def test_f_beta_by_hand():
    saliency = np.zeros((10, 10))
    saliency[0, :8] = 0.9  # mean 0.072: the cut is at 0.144
    saliency[1, :5] = 0.1
    mask = np.zeros((10, 10), bool)
    mask[0, 2:] = True
    precision, recall = 6 / 8, 6 / 8
    assert f_beta(saliency, mask) == pytest.approx(
        1.3 * precision * recall / (0.3 * precision + recall)
    )
    mask[1] = True  # recall 6 / 18 now
    assert f_beta(saliency, mask) == pytest.approx(1.3 * 0.75 * (1 / 3) / (0.3 * 0.75 + 1 / 3))


def test_f_beta_cuts_at_no_more_than_1_and_a_blank_map_marks_nothing():
    assert f_beta(np.ones((4, 4)), np.eye(4, dtype=bool)) == pytest.approx(
        1.3 * 0.25 / (0.3 * 0.25 + 1)
    )
    assert f_beta(np.zeros((4, 4)), np.eye(4, dtype=bool)) == 0


def test_s_measure_by_hand():
    """A constant map: no structure, so the region part is 0 but for parts without any object, where
    map and mask are both flat.
    """
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = (
        True  # the centroid rounds to an even split of this mask, of which each part sees some
    )
    value, share = 0.3, 0.25
    foreground, background = 2 * value / (value**2 + 1), 2 * (1 - value) / ((1 - value) ** 2 + 1)
    expected = 0.5 * (share * foreground + (1 - share) * background)
    assert s_measure(np.full((20, 20), value), mask) == pytest.approx(expected, abs=1e-9)


def test_s_measure_at_its_edges():
    saliency = np.full((6, 6), 0.25)
    assert (
        s_measure(saliency, np.zeros((6, 6), bool)) == 0.75
        and s_measure(saliency, np.ones((6, 6), bool)) == 0.25
    )
    assert s_measure(np.ones((1, 1)), np.ones((1, 1), bool)) == 1
    dot = np.zeros((5, 5), bool)
    dot[4, 4] = True  # a part of no pixels beside it
    assert s_measure(dot.astype(float), dot) == pytest.approx(1)


def test_s_measure_falls_with_noise_and_with_shift():
    noise = np.random.default_rng(0).random(MASK.shape)
    by_noise = [s_measure((1 - share) * MASK + share * noise, MASK) for share in (0, 0.2, 0.5, 1)]
    by_shift = [s_measure(np.roll(MASK, shift, 1).astype(float), MASK) for shift in (0, 3, 8, 20)]
    assert by_noise == sorted(by_noise, reverse=True) and by_shift == sorted(by_shift, reverse=True)


def test_means():
    assert mean_scores([SaliencyScores(0, 1, 0.5), SaliencyScores(1, 0, 0.5)]) == (0.5, 0.5, 0.5)
    with pytest.raises(SettingError, match="at least one image"):
        mean_scores([])


@pytest.mark.parametrize(
    "saliency, mask, message",
    [
        (np.zeros((3, 4)), np.zeros((4, 3), bool), r"one shape, got \(3, 4\) and \(4, 3\)"),
        (np.zeros((3, 3)), np.zeros((3, 3)), "mask must be bool"),
        (np.full((3, 3), np.nan), np.zeros((3, 3), bool), "without NaN"),
        (np.full((3, 3), 1.1), np.zeros((3, 3), bool), r"float in \[0, 1\]"),
        (np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool), "must be of float"),
        (np.zeros((0, 3)), np.zeros((0, 3), bool), "at least one pixel"),
    ],
)
def test_what_is_no_map(saliency, mask, message):
    with pytest.raises(SettingError, match=message):
        s_measure(saliency, mask)
