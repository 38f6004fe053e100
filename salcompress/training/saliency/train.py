"""Training of SaliencyNet: first on COCO, then on pairs of an image and a mask."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.files import digest, write_atomically
from salcompress.image import read_image
from salcompress.saliency.network import SaliencyNet, SideOutputs, save_saliency_network
from salcompress.training.loop import StepResult, train
from salcompress.training.photograph_files import find_images
from salcompress.training.precision import bfloat16_is_faster
from salcompress.training.saliency.batches import SaliencyBatch, Sources, saliency_batches
from salcompress.training.saliency.loss import saliency_loss
from salcompress.training.saliency.pairs import (
    SaliencyPair,
    load_coco_pairs,
    load_pairs,
    shrink_image,
    shrink_pair,
)
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings


class SaliencyData(NamedTuple):
    """What training draws from, in memory."""

    pairs: list[SaliencyPair]
    """The pairs as they are on disk."""
    coco: list[SaliencyPair]
    """Images of COCO with the union of their larger objects; may be empty."""
    backgrounds: list[np.ndarray]
    """Photographs on which objects are pasted, uint8 (H, W, 3); may be empty."""


class SaliencySchedule(NamedTuple):
    """How long each of the two parts of training takes, and on what machine."""

    pretrain_steps: int
    """Number of steps on COCO and on its objects pasted. All folds share them, since they see no
    pair.
    """
    steps: int
    """Number of steps on the pairs, from the pre-trained weights."""
    minutes: float
    """Each part takes at most this much wall time in one run."""
    checkpoint: Path
    """The checkpoints of the parts are named after this file."""
    device: str = "cpu"
    batch_size: int = 8
    side: int = 192
    """Side of the square samples in pixels."""
    seed: int = 1


class _Part(NamedTuple):
    """One part of a training."""

    name: str
    """It names the checkpoint."""
    sources: list[tuple[float, Sources]]
    """Sources, each with its share of the samples."""
    steps: int
    learning_rate: float
    conditions: Mapping[str, str]
    """What its checkpoint depends on."""


def load_data(pairs: Path, coco: Path | None, backgrounds: Sequence[Path]) -> SaliencyData:
    """Read everything into memory.

    Args:
        pairs: Folder of :func:`~salcompress.training.saliency.pairs.load_pairs`.
        coco: Folder of :func:`~salcompress.training.saliency.pairs.load_coco_pairs`; None trains
            without COCO.
        backgrounds: Image files and folders of them; without any, nothing is pasted.

    Raises:
        SettingError, DataError: A folder or file is missing, lacks its companion, or is damaged.
            The message names it.
    """
    return SaliencyData(
        load_pairs(pairs),
        load_coco_pairs(coco) if coco else [],
        [shrink_image(read_image(path)) for path in find_images(backgrounds)],
    )


def train_saliency(
    pairs: Sequence[SaliencyPair], data: SaliencyData, schedule: SaliencySchedule, name: str
) -> SaliencyNet:
    """Pre-train on COCO, then train on the pairs.

    Pre-training happens once: a finished checkpoint of it is taken as it is.

    Args:
        pairs: The only pairs that are seen, also as cut and pasted objects. ``data.pairs`` are not
            looked at.
        data: COCO and the backgrounds.
        schedule: How long to train.
        name: Name of the second part's checkpoint, such as ``fold0`` or ``all``.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        SettingError: Time was up before the end of a part, or there is nothing to pre-train on.
        DataError: A checkpoint was trained under other conditions.
    """
    torch.manual_seed(schedule.seed)
    model = SaliencyNet().to(schedule.device).to(memory_format=torch.channels_last)
    conditions = {
        "coco and backgrounds": _content(data.coco, data.backgrounds),
        "batch": str(schedule.batch_size),
        "side": str(schedule.side),
        "pretrain_steps": str(schedule.pretrain_steps),
    }
    from_coco = Sources([shrink_pair(pair) for pair in data.coco], data.backgrounds, 0.4)
    if schedule.pretrain_steps:
        if not data.coco:
            raise SettingError(
                "pre-training needs a COCO folder; give one, or 0 steps of pre-training"
            )
        first = _Part("pretrained", [(1.0, from_coco)], schedule.pretrain_steps, 3e-3, conditions)
        _train_part(model, first, schedule)
    own = Sources([shrink_pair(pair) for pair in pairs], data.backgrounds, 0.3)
    sources = [(0.8, own), (0.2, from_coco)] if data.coco else [(1.0, own)]
    conditions = {"pairs": _content(pairs, []), **conditions}
    _train_part(model, _Part(name, sources, schedule.steps, 1.5e-3, conditions), schedule)
    return model.eval()


def train_on_all(data: SaliencyData, schedule: SaliencySchedule, out: Path) -> str:
    """Train on all pairs and write the weights file.

    Returns:
        A line that says what was written.

    Raises:
        SettingError, DataError: See :func:`train_saliency`.
        OutputError: The file cannot be written.
    """
    write_atomically(out, save_saliency_network(train_saliency(data.pairs, data, schedule, "all")))
    return (
        f"{len(data.pairs)} pairs, {len(data.coco)} COCO images, {len(data.backgrounds)} "
        f"backgrounds; {out}: {out.stat().st_size / 1e6:.2f} MB"
    )


def _content(pairs: Sequence[SaliencyPair], images: Sequence[np.ndarray]) -> str:
    """Digest of pairs and of images, in their order."""
    return digest(
        *(digest(pair.name, pair.image.tobytes(), pair.mask.tobytes()) for pair in pairs),
        *(digest(image.tobytes()) for image in images),
    )[:12]


def _train_part(model: SaliencyNet, part: _Part, schedule: SaliencySchedule) -> None:
    """Train one part to its end, and give the model its averaged weights."""
    checkpoint = schedule.checkpoint
    settings = TrainSettings(
        Cosine(part.steps),
        schedule.minutes,
        checkpoint.with_suffix(f".{part.name}{checkpoint.suffix}"),
        part.learning_rate,
        average_decay=0.995,
        weight_decay=1e-2,
        save_every=200,
        log_every=50,
        identity=f"saliency network, {part.name}",
        conditions=part.conditions,
        seed=schedule.seed,
    )

    def output_of(batch: SaliencyBatch, mixed_precision: bool) -> tuple[SideOutputs, Tensor]:
        image, mask = (x.to(schedule.device) for x in batch)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=mixed_precision):
            return model(image), mask

    def compute(batch: SaliencyBatch) -> StepResult:
        output, mask = output_of(batch, mixed_precision)
        wanted = F.interpolate(mask, output.fused.shape[2:], mode="area")
        error = (output.fused.detach().float().sigmoid() - wanted).abs().mean()
        return StepResult(saliency_loss(output, mask), {"mae": error})

    def batches(first: int, size: int = schedule.batch_size) -> Iterator[SaliencyBatch]:
        return saliency_batches(part.sources, schedule.seed, first, size, schedule.side)

    few = next(batches(0, min(schedule.batch_size, 2)))
    mixed_precision = bfloat16_is_faster(model, lambda mixed: saliency_loss(*output_of(few, mixed)))
    result = train(model, compute, batches, settings)
    if not result.is_over:
        raise SettingError(
            f"{part.name}: {result.step} of {part.steps} steps done when the time of this run was "
            "up; the checkpoint is kept: run the same command again to go on"
        )
    model.load_state_dict(result.weights)
