"""Scores by folds are of what training never saw."""

import math

import pytest

from salcompress.errors import SettingError
from salcompress.metrics.saliency_scores import SaliencyScores, mean_scores
from salcompress.saliency.network import SaliencyNet
from salcompress.training.saliency.folds import evaluate_folds, score_by_folds, scores_table
from salcompress.training.saliency.train import (
    SaliencyData,
    SaliencySchedule,
)
from tests.training.saliency.drawn import drawn_pairs


def test_folds_hold_out_what_they_score():
    pairs, seen_by_fold = drawn_pairs(7), []

    def train_on(seen, part):
        seen_by_fold.append((part, {pair.name for pair in seen}))
        return SaliencyNet().eval()

    rows = evaluate_folds(
        pairs[::-1], 3, train_on
    )  # the order of names counts, not that of the list
    assert seen_by_fold == [
        (f"fold{k}", {f"{j:03d}" for j in range(7) if j % 3 != k}) for k in range(3)
    ]
    assert list(rows) == ["network (held out)", "classical", "centre prior"] and all(
        0 <= v <= 1 for row in rows.values() for v in row
    )
    for folds in (1, 8):
        with pytest.raises(SettingError, match=f"from 2 to the number of pairs, 7; got {folds}"):
            evaluate_folds(pairs, folds, train_on)


def test_table(tmp_path):
    text = scores_table({"a": SaliencyScores(0.12345, 0.2, 0.3)})
    assert (
        text.splitlines()[0].startswith("| method | F-beta")
        and text.splitlines()[2] == "| a | 0.123 | 0.200 | 0.300 |"
    )
    schedule = SaliencySchedule(0, 1, math.inf, tmp_path / "s.ckpt", batch_size=2, side=32)
    assert (
        len(
            score_by_folds(
                SaliencyData(drawn_pairs(2), [], []), schedule, 2, tmp_path / "maps"
            ).splitlines()
        )
        == 5
    )
    assert sorted(p.stem for p in (tmp_path / "maps").iterdir()) == sorted(
        pair.name for pair in drawn_pairs(2)
    )
    assert mean_scores([SaliencyScores(1, 1, 1)]) == (1, 1, 1)
