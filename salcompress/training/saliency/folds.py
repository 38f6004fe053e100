"""Honest scores of SaliencyNet: each pair is scored by a network that never saw it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.metrics.saliency_scores import SaliencyScores, mean_scores, score_saliency
from salcompress.reporting.tables import markdown_table
from salcompress.saliency.functions import classical_saliency, encode_map, run_network
from salcompress.saliency.network import SaliencyNet
from salcompress.training.saliency.pairs import SaliencyPair
from salcompress.training.saliency.train import (
    SaliencyData,
    SaliencySchedule,
    pretrain_saliency,
    train_saliency,
)


def centre_prior(height: int, width: int) -> np.ndarray:
    """The map that one would draw without looking: a Gaussian around the middle.

    Its standard deviation is a quarter of each side.

    Returns:
        float32 (height, width) in [0, 1].
    """
    row, column = (
        np.exp(-0.5 * ((np.arange(size) + 0.5 - size / 2) / (size / 4)) ** 2)
        for size in (height, width)
    )
    return np.outer(row, column).astype(np.float32)


def score_maps(
    pairs: Sequence[SaliencyPair], saliency: Callable[[np.ndarray], np.ndarray]
) -> list[SaliencyScores]:
    """Score a saliency function, image to map, on each pair at its own size."""
    return [score_saliency(saliency(pair.image), pair.mask) for pair in pairs]


def score_by_folds(
    data: SaliencyData, schedule: SaliencySchedule, folds: int, maps: Path | None = None
) -> str:
    """Train and score fold by fold, and print the scores of the pre-trained network first.

    Args:
        data: What training draws from.
        schedule: How long to train.
        folds: Number of folds.
        maps: Folder for the held-out map of each pair, a grey PNG of the pair's name; None writes
            no maps.

    Returns:
        A Markdown table of the network, the classical map and the centre prior.

    Raises:
        SettingError, DataError: See :func:`evaluate_folds` and
            :func:`~salcompress.training.saliency.train.train_saliency`.
    """

    def train_on(pairs: list[SaliencyPair], name: str) -> SaliencyNet:
        return train_saliency(pairs, data, schedule, name)

    _check_folds(data.pairs, folds)
    if schedule.pretrain_steps:
        model = pretrain_saliency(data, schedule)
        _print_scores(model, data.held_out, "held-out general pairs")
        _print_scores(model, data.pairs, "pairs, none of them seen")
    return scores_table(evaluate_folds(data.pairs, folds, train_on, maps))


def _check_folds(pairs: Sequence[SaliencyPair], folds: int) -> None:
    if not 2 <= folds <= len(pairs):
        raise SettingError(
            f"folds must be from 2 to the number of pairs, {len(pairs)}; got {folds}"
        )


def _print_scores(model: SaliencyNet, pairs: Sequence[SaliencyPair], what: str) -> None:
    scores = mean_scores(score_maps(pairs, lambda image: run_network(model, image)))
    print(f"pre-trained: {len(pairs)} {what}: {_line(scores)}", flush=True)


def evaluate_folds(
    pairs: Sequence[SaliencyPair],
    folds: int,
    train_on: Callable[[list[SaliencyPair], str], SaliencyNet],
    maps: Path | None = None,
) -> dict[str, SaliencyScores]:
    """Score the network on pairs that its training never saw, and what it must beat on all pairs.

    Fold k holds out each pair whose place in the order of names is k modulo ``folds``.

    Args:
        pairs: All pairs.
        folds: Number of folds, from 2 to the number of pairs.
        train_on: Gives the network that was trained on some pairs; the text names the fold.
        maps: Folder for the held-out map of each pair; None writes no maps.

    Returns:
        Mean scores by method.

    Raises:
        SettingError: There are fewer than two folds, or fewer pairs than folds.
    """
    _check_folds(pairs, folds)
    ordered = sorted(pairs, key=lambda pair: pair.name)
    scores: list[SaliencyScores] = []
    for k in range(folds):
        held_out = ordered[k::folds]
        seen = [pair for index, pair in enumerate(ordered) if index % folds != k]
        model = train_on(seen, f"fold{k}")
        if maps is not None:
            _write_maps(model, held_out, maps)
        of_fold = score_maps(held_out, lambda image: run_network(model, image))
        print(
            f"fold {k}: {len(held_out)} held-out pairs: {_line(mean_scores(of_fold))}", flush=True
        )
        scores += of_fold
    prior = score_maps(ordered, lambda image: centre_prior(image.shape[0], image.shape[1]))
    return {
        "network (held out)": mean_scores(scores),
        "classical": mean_scores(score_maps(ordered, classical_saliency)),
        "centre prior": mean_scores(prior),
    }


def scores_table(scores: Mapping[str, SaliencyScores]) -> str:
    """A Markdown table with a line for each method."""
    header = ["method", "F-beta (higher is better)", "MAE (lower)", "S-measure (higher)"]
    return markdown_table(header, [_row(name, of_method) for name, of_method in scores.items()])


def _line(scores: SaliencyScores) -> str:
    return f"F-beta {scores.f_beta:.3f}, MAE {scores.mae:.3f}, S-measure {scores.s_measure:.3f}"


def _row(name: str, scores: SaliencyScores) -> list[str]:
    return [name, *(f"{value:.3f}" for value in scores)]


def _write_maps(model: SaliencyNet, pairs: Sequence[SaliencyPair], folder: Path) -> None:
    for pair in pairs:
        write_atomically(folder / f"{pair.name}.png", encode_map(run_network(model, pair.image)))
