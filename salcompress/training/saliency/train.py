"""Training of SaliencyNet: on many pairs of an image and a mask, and then on the wanted ones."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.files import digest, write_atomically
from salcompress.saliency.network import SaliencyNet, SideOutputs, save_saliency_network
from salcompress.training.loop import StepResult, train
from salcompress.training.precision import bfloat16_is_faster
from salcompress.training.saliency.batches import SaliencyBatch, saliency_batches
from salcompress.training.saliency.loss import saliency_loss
from salcompress.training.saliency.pairs import (
    SaliencyPair,
    load_pairs,
    shrink_pair,
    split_pairs,
)
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings

_LEARNING_RATE = 1e-3


class SaliencyData(NamedTuple):
    """What training draws from, in memory."""

    pairs: list[SaliencyPair]
    """The wanted pairs as they are on disk."""
    general: list[SaliencyPair]
    """Pairs for pre-training; may be empty."""
    held_out: list[SaliencyPair]
    """Pairs of the same source as ``general``, on which nothing is trained; may be empty."""
    backbone: Mapping[str, Tensor] | None = None
    """State dict that the network's backbone starts from; None starts from random weights."""


class SaliencySchedule(NamedTuple):
    """How long both parts of training take, and on what machine."""

    pretrain_steps: int
    """Number of steps on the general pairs. All folds share them, since they see no wanted pair."""
    steps: int
    """Number of steps on the wanted pairs, from the pre-trained weights."""
    minutes: float
    """Each part takes at most this much wall time in one run."""
    checkpoint: Path
    """The checkpoints of the parts are named after this file."""
    device: str = "cpu"
    batch_size: int = 8
    side: int = 256
    """Side of the square samples in pixels, a multiple of 32."""
    seed: int = 1


class _Part(NamedTuple):
    """One part of a training."""

    name: str
    """It names the checkpoint."""
    sources: list[tuple[float, list[SaliencyPair]]]
    """Pairs, each list with its share of the samples."""
    steps: int
    learning_rate: float
    conditions: Mapping[str, str]
    """What its checkpoint depends on."""


def load_data(
    pairs: Path, general: Path | None, backbone: Mapping[str, Tensor] | None = None
) -> SaliencyData:
    """Read everything into memory.

    Args:
        pairs: Folder of the wanted pairs, as of
            :func:`~salcompress.training.saliency.pairs.load_pairs`.
        general: Such a folder for pre-training; None trains without. A tenth of it is held out.
        backbone: What the network's backbone starts from.

    Raises:
        SettingError, DataError: A folder or file is missing, lacks its companion, or is damaged.
            The message names it.
    """
    many, held_out = split_pairs(load_pairs(general)) if general else ([], [])
    return SaliencyData(load_pairs(pairs), many, held_out, backbone)


def pretrain_saliency(data: SaliencyData, schedule: SaliencySchedule) -> SaliencyNet:
    """Train on the general pairs alone. This happens once: a finished checkpoint is taken as it is.

    Args:
        data: The wanted pairs are not looked at.
        schedule: How long to train.

    Returns:
        The trained network, in evaluation mode; the one that training starts from where there are 0
        steps.

    Raises:
        SettingError: Time was up before the end, or there is nothing to pre-train on.
        DataError: The checkpoint was trained under other conditions.
    """
    torch.manual_seed(schedule.seed)
    model = SaliencyNet()
    if data.backbone:
        model.backbone.load_state_dict(data.backbone)
    model = model.to(schedule.device).to(memory_format=torch.channels_last)
    if not schedule.pretrain_steps:
        return model.eval()
    if not data.general:
        raise SettingError(
            "pre-training needs a folder of pairs; give one, or 0 steps of pre-training"
        )
    part = _Part(
        "pretrained",
        [(1.0, [shrink_pair(pair) for pair in data.general])],
        schedule.pretrain_steps,
        _LEARNING_RATE,
        _common_conditions(data, schedule),
    )
    _train_part(model, part, schedule)
    return model.eval()


def train_saliency(
    pairs: Sequence[SaliencyPair], data: SaliencyData, schedule: SaliencySchedule, name: str
) -> SaliencyNet:
    """Pre-train on the general pairs, then train on these.

    Args:
        pairs: The only wanted pairs that are seen. ``data.pairs`` are not looked at.
        data: The general pairs, which also are 40 % of the samples of the second part.
        schedule: How long to train.
        name: Name of the second part's checkpoint, such as ``fold0`` or ``all``.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        SettingError, DataError: See :func:`pretrain_saliency`.
    """
    model = pretrain_saliency(data, schedule)
    own = [shrink_pair(pair) for pair in pairs]
    general = [shrink_pair(pair) for pair in data.general]
    sources = [(0.6, own), (0.4, general)] if general else [(1.0, own)]
    conditions = {
        "pairs": _content(pairs),
        "pretrain_steps": str(schedule.pretrain_steps),
        **_common_conditions(data, schedule),
    }
    learning_rate = _LEARNING_RATE / 4 if schedule.pretrain_steps else _LEARNING_RATE
    _train_part(model, _Part(name, sources, schedule.steps, learning_rate, conditions), schedule)
    return model.eval()


def train_on_all(data: SaliencyData, schedule: SaliencySchedule, out: Path) -> str:
    """Train on all wanted pairs and write the weights file.

    Returns:
        A line that says what was written.

    Raises:
        SettingError, DataError: See :func:`train_saliency`.
        OutputError: The file cannot be written.
    """
    write_atomically(out, save_saliency_network(train_saliency(data.pairs, data, schedule, "all")))
    return (
        f"{len(data.pairs)} pairs after {len(data.general)} general ones; "
        f"{out}: {out.stat().st_size / 1e6:.2f} MB"
    )


def _common_conditions(data: SaliencyData, schedule: SaliencySchedule) -> dict[str, str]:
    return {
        "general pairs": _content(data.general),
        "backbone": _fingerprint(data.backbone),
        "batch": str(schedule.batch_size),
        "side": str(schedule.side),
    }


def _content(pairs: Sequence[SaliencyPair]) -> str:
    """Digest of pairs, in their order."""
    return digest(
        *(digest(pair.name, pair.image.tobytes(), pair.mask.tobytes()) for pair in pairs)
    )[:12]


def _fingerprint(weights: Mapping[str, Tensor] | None) -> str:
    if weights is None:
        return "random"
    return digest(*(value.cpu().numpy().tobytes() for value in weights.values()))[:12]


def _train_part(model: SaliencyNet, part: _Part, schedule: SaliencySchedule) -> None:
    """Train one part to its end, and give the model its averaged weights."""
    checkpoint = schedule.checkpoint
    settings = TrainSettings(
        Cosine(part.steps),
        schedule.minutes,
        checkpoint.with_suffix(f".{part.name}{checkpoint.suffix}"),
        part.learning_rate,
        average_decay=0.995,
        weight_decay=2e-2,
        save_every=500,
        log_every=50,
        identity=f"saliency network, {part.name}",
        conditions=part.conditions,
        seed=schedule.seed,
    )

    def loss_and_output(batch: SaliencyBatch, mixed: bool) -> tuple[Tensor, SideOutputs]:
        image, mask = (x.to(schedule.device) for x in batch)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=mixed):
            output = model(image)
        return saliency_loss(output, mask), output

    def compute(batch: SaliencyBatch) -> StepResult:
        loss, output = loss_and_output(batch, mixed_precision)
        wanted = F.interpolate(batch.mask, output.fused.shape[2:], mode="area")
        error = (output.fused.detach().float().sigmoid() - wanted.to(schedule.device)).abs().mean()
        return StepResult(loss, {"mae": error})

    def batches(first: int, size: int = schedule.batch_size) -> Iterator[SaliencyBatch]:
        return saliency_batches(part.sources, schedule.seed, first, size, schedule.side)

    few = next(batches(0, min(schedule.batch_size, 2)))
    mixed_precision = bfloat16_is_faster(model, lambda mixed: loss_and_output(few, mixed)[0])
    result = train(model, compute, batches, settings)
    if not result.is_over:
        raise SettingError(
            f"{part.name}: {result.step} of {part.steps} steps done when the time of this run was "
            "up; the checkpoint is kept: run the same command again to go on"
        )
    model.load_state_dict(result.weights)
