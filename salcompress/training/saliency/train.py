"""Training of SaliencyNet, and its honest evaluation by folds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.files import digest, write_atomically
from salcompress.image import read_image
from salcompress.metrics.saliency_scores import SaliencyScores, mean_scores, score_saliency
from salcompress.reporting.tables import markdown_line, markdown_table
from salcompress.saliency.functions import classical_saliency, encode_map, run_network
from salcompress.saliency.network import SaliencyNet, SideOutputs, save_saliency_network
from salcompress.training.loop import StepResult, TrainSettings, train
from salcompress.training.photographs import find_images
from salcompress.training.saliency.pairs import (
    SaliencyBatch,
    SaliencyPair,
    Sources,
    load_coco_pairs,
    load_pairs,
    saliency_batches,
    shrink_image,
    shrink_pair,
)
from salcompress.training.schedule import Cosine


class SaliencyData(NamedTuple):
    """What training draws from, in memory."""

    pairs: list[SaliencyPair]
    """As they are on disk."""
    coco: list[SaliencyPair]
    backgrounds: list[np.ndarray]
    """Photographs on which objects are pasted, uint8 (H, W, 3)."""


class SaliencySchedule(NamedTuple):
    """How long, and on what machine, each of the two parts of training goes."""

    pretrain_steps: int
    """On COCO and on its objects pasted; shared by all folds, since it sees no pair."""
    steps: int
    """On the pairs, from the pre-trained weights."""
    minutes: float
    """Wall time of each part in one run."""
    checkpoint: Path
    """Name that the checkpoints of the parts are made from."""
    device: str = "cpu"
    batch_size: int = 8
    side: int = 192
    seed: int = 1


def saliency_loss(output: SideOutputs, mask: Tensor) -> Tensor:
    """Cross-entropy and one minus the soft intersection over union, of the fused output and of each
    side output at its own size.

    The second term makes maps confident and objects whole; Qin et al., "BASNet", CVPR 2019. Equal
    weights are our choice.

    Args:
        mask: (N, 1, H, W) in [0, 1].
    """
    total = torch.zeros((), device=mask.device)
    for logits in (output.fused, *output.sides):
        target = F.interpolate(mask, logits.shape[2:], mode="area")
        probability = logits.float().sigmoid()
        common = (probability * target).sum((1, 2, 3))
        union = (probability + target - probability * target).sum((1, 2, 3))
        total = (
            total
            + F.binary_cross_entropy_with_logits(logits.float(), target)
            + (1 - (common + 1) / (union + 1)).mean()
        )
    return total


def load_data(pairs: Path, coco: Path | None, backgrounds: Sequence[Path]) -> SaliencyData:
    """Read everything into memory.

    Args:
        pairs: As :func:`load_pairs` wants it.
        coco: As :func:`load_coco_pairs` wants it; None trains without.
        backgrounds: Image files and folders of them; none pastes nothing.

    Raises:
        SettingError, DataError: A folder or file is missing, without its companion, or damaged; the
        message names it.
    """
    return SaliencyData(
        load_pairs(pairs),
        load_coco_pairs(coco) if coco else [],
        [shrink_image(read_image(path)) for path in find_images(backgrounds)],
    )


def train_saliency(
    pairs: Sequence[SaliencyPair], data: SaliencyData, schedule: SaliencySchedule, part: str
) -> SaliencyNet:
    """Pre-train on COCO (once: a finished checkpoint is taken as it is), then train on the pairs.

    Args:
        pairs: The only pairs that are seen, cut and pasted ones too; ``data.pairs`` are not looked
            at.
        part: Names the checkpoint of the second part, as ``fold0`` or ``all``.

    Raises:
        SettingError: Time was up before the end of a part, or there is nothing to pre-train on.
    """
    torch.manual_seed(schedule.seed)
    model = SaliencyNet().to(schedule.device, memory_format=torch.channels_last)
    seen = digest(
        *(part for pair in pairs for part in (pair.name, pair.image.tobytes(), pair.mask.tobytes()))
    )[:12]
    beside = digest(
        *(image.tobytes() for image in (*(pair.image for pair in data.coco), *data.backgrounds))
    )[:12]
    common = f"{beside} batch={schedule.batch_size} side={schedule.side} seed={schedule.seed} pretrain_steps={schedule.pretrain_steps}"
    from_coco = Sources([shrink_pair(pair) for pair in data.coco], data.backgrounds, 0.4)
    if schedule.pretrain_steps:
        if not data.coco:
            raise SettingError(
                "pre-training needs a COCO folder; give one, or 0 steps of pre-training"
            )
        _run(
            model, [(1.0, from_coco)], schedule, "pretrained", schedule.pretrain_steps, 3e-3, common
        )
    own = Sources([shrink_pair(pair) for pair in pairs], data.backgrounds, 0.3)
    _run(
        model,
        [(0.8, own), (0.2, from_coco)] if data.coco else [(1.0, own)],
        schedule,
        part,
        schedule.steps,
        1.5e-3,
        f"{seen} {common}",
    )
    return model.eval()


def _run(
    model: SaliencyNet,
    sources: list[tuple[float, Sources]],
    schedule: SaliencySchedule,
    part: str,
    steps: int,
    rate: float,
    identity: str,
) -> None:
    checkpoint = schedule.checkpoint.with_suffix(f".{part}{schedule.checkpoint.suffix}")
    settings = TrainSettings(
        Cosine(steps),
        schedule.minutes,
        checkpoint,
        rate,
        average_decay=0.995,
        weight_decay=1e-2,
        save_every=200,
        log_every=50,
        identity=identity,
    )

    def compute(batch: SaliencyBatch) -> StepResult:
        image, mask = (x.to(schedule.device) for x in batch)
        with torch.autocast(image.device.type, torch.bfloat16):
            output = model(image)
        error = (
            (
                output.fused.detach().float().sigmoid()
                - F.interpolate(mask, output.fused.shape[2:], mode="area")
            )
            .abs()
            .mean()
        )
        return StepResult(saliency_loss(output, mask), {"mae": error})

    def batches(first: int):
        return saliency_batches(sources, schedule.seed, first, schedule.batch_size, schedule.side)

    result = train(model, compute, batches, settings)
    if not result.is_over:
        raise SettingError(
            f"{part}: {result.step} of {steps} steps done when the time of this run was up; the "
            "checkpoint is kept: run "
            "the same command again to go on"
        )
    model.load_state_dict(result.weights)


def centre_prior(height: int, width: int) -> np.ndarray:
    """What one knows without looking: a Gaussian around the middle, a quarter of each side wide,
    float32 (H, W).
    """
    row, column = (
        np.exp(-0.5 * ((np.arange(size) + 0.5 - size / 2) / (size / 4)) ** 2)
        for size in (height, width)
    )
    return np.outer(row, column).astype(np.float32)


def score_maps(
    pairs: Sequence[SaliencyPair], saliency: Callable[[np.ndarray], np.ndarray]
) -> list[SaliencyScores]:
    """Scores of a saliency function on each pair at its own size."""
    return [score_saliency(saliency(pair.image), pair.mask) for pair in pairs]


def train_on_all(data: SaliencyData, schedule: SaliencySchedule, out: Path) -> str:
    """Train on all pairs and write the weights file; says what was written."""
    write_atomically(out, save_saliency_network(train_saliency(data.pairs, data, schedule, "all")))
    return f"{len(data.pairs)} pairs, {len(data.coco)} COCO images, {len(data.backgrounds)} backgrounds; {out}: {out.stat().st_size / 1e6:.2f} MB"


def score_by_folds(
    data: SaliencyData, schedule: SaliencySchedule, folds: int, maps: Path | None = None
) -> str:
    """Train and score fold by fold; a table of the network, the classical map and the centre prior.

    Args:
        maps: Folder for the held-out map of each pair, a grey PNG of its name.
    """
    return format_table(
        evaluate_folds(
            data.pairs, folds, lambda pairs, part: train_saliency(pairs, data, schedule, part), maps
        )
    )


def evaluate_folds(
    pairs: Sequence[SaliencyPair],
    folds: int,
    train_on: Callable[[list[SaliencyPair], str], SaliencyNet],
    maps: Path | None = None,
) -> dict[str, SaliencyScores]:
    """Scores of the network on pairs that its training never saw, and of what it must beat, on all
    pairs.

    Fold k holds out every pair whose place in the order of names is k modulo ``folds``.

    Args:
        train_on: Network trained on the pairs given; the text names the fold.
        maps: As of :func:`score_by_folds`.

    Raises:
        SettingError: There are fewer than two folds, or fewer pairs than folds.
    """
    if not 2 <= folds <= len(pairs):
        raise SettingError(
            f"folds must be from 2 to the number of pairs, {len(pairs)}; got {folds}"
        )
    ordered = sorted(pairs, key=lambda pair: pair.name)
    scores: list[SaliencyScores] = []
    for k in range(folds):
        held_out = ordered[k::folds]
        seen = [pair for index, pair in enumerate(ordered) if index % folds != k]
        model = train_on(seen, f"fold{k}")
        if maps is not None:
            for pair in held_out:
                write_atomically(
                    maps / f"{pair.name}.png", encode_map(run_network(model, pair.image))
                )
        found = score_maps(held_out, lambda image: run_network(model, image))
        print(
            f"fold {k}: {len(held_out)} held-out pairs: "
            f"{format_scores('network', mean_scores(found))}",
            flush=True,
        )
        scores += found
    return {
        "network (held out)": mean_scores(scores),
        "classical": mean_scores(score_maps(ordered, classical_saliency)),
        "centre prior": mean_scores(
            score_maps(ordered, lambda image: centre_prior(*image.shape[:2]))
        ),
    }


def format_scores(name: str, scores: SaliencyScores) -> str:
    """A line of the table."""
    return markdown_line(_cells(name, scores))


def format_table(rows: dict[str, SaliencyScores]) -> str:
    """Markdown, a method a line."""
    return markdown_table(
        ["method", "F-beta (higher is better)", "MAE (lower)", "S-measure (higher)"],
        [_cells(name, scores) for name, scores in rows.items()],
    )


def _cells(name: str, scores: SaliencyScores) -> list[str]:
    return [name, f"{scores.f_beta:.3f}", f"{scores.mae:.3f}", f"{scores.s_measure:.3f}"]
