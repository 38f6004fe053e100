"""Speed and memory of training steps with the codec in each of its places."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.utils.events import EventStorage
from torch import nn
from torch.optim import Optimizer

from salcompress.bench.isolated_process import (
    memory_of_children,
    peak_memory,
    process_of_its_own,
    wait_for,
)
from salcompress.bench.scenes import coco_size_scenes, write_scene
from salcompress.bench.settings import VARIANTS, BenchSettings
from salcompress.bench.stage import ratio
from salcompress.codecs import load_codec
from salcompress.codecs.compress import compress_images
from salcompress.data.sources import Sources
from salcompress.data.storage import LocalFolder
from salcompress.detectron import CompressedDetector, CompressionTrainer
from salcompress.detectron.config import load_config
from salcompress.detectron.stored_dataset import STORED_KEY
from salcompress.process import process_mib
from salcompress.reporting.tables import markdown_table

_DATASET = "salcompress_bench"


class Round(NamedTuple):
    """One timing of training."""

    seconds: float
    """For one step."""
    steps: int
    """That were timed."""
    peak_mib: float
    """Of all rounds so far: CUDA's allocations, or on a CPU this process with what the loader's
    processes have of their own.
    """


class _Training(NamedTuple):
    model: nn.Module
    optimizer: Optimizer
    loader: Any


_SET_UP: dict[str, _Training] = {}  # of this process, between its rounds


class StepFigure(NamedTuple):
    """Training steps with the codec in one place."""

    variant: str
    seconds: list[float]
    """For one step, of each repeat."""
    steps: list[int]
    """Behind each of them."""
    median_s: float
    ratio: float
    """Over a step without a codec: median over the repeats of the quotient within one."""
    peak_mib: float
    above_mib: float
    """Above that without a codec; below it too, where a frozen detector keeps less."""


def measure_training(settings: BenchSettings) -> list[StepFigure]:
    """Steps of a detector from random weights on COCO-size scenes, each variant in a process of its
    own, in turn.

    Raises:
        SettingError: There is not enough memory.
    """
    device = settings.device
    rounds: dict[str, list[Round]] = {name: [] for name in settings.variants}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scenes = coco_size_scenes(max(settings.images, settings.images_per_step))
        entries = [write_scene(Path(folder) / f"{k}.jpg", scene) for k, scene in enumerate(scenes)]
        stored = _stored(settings, Path(folder), entries) if "stored" in settings.variants else []
        runs = {name: stack.enter_context(process_of_its_own(VARIANTS[name])) for name in rounds}
        for name, run in runs.items():
            run(
                set_up_training,
                config_of(settings, name),
                _DATASET,
                stored if name == "stored" else entries,
                name == "none",
            )
        for k in range(settings.repeat):
            for name in reversed(runs) if k % 2 else runs:  # what drifts with time hits all alike
                rounds[name].append(
                    runs[name](
                        measure_round,
                        device,
                        settings.steps,
                        settings.warm_up,
                        settings.round_s,
                    )
                )
    return [_step_figure(name, found, rounds["none"]) for name, found in rounds.items()]


def _stored(
    settings: BenchSettings, folder: Path, entries: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The same dicts, of pictures that are stored as streams."""
    names = [Path(entry["file_name"]).name for entry in entries]
    sources, out = Sources(LocalFolder(folder), names), folder / "stored"
    codec = load_codec(settings.codec_on(settings.device))
    compress_images(sources, codec, LocalFolder(out), workers=0)
    return [entry | {STORED_KEY: (str(out), k)} for k, entry in enumerate(entries)]


def _step_figure(name: str, found: Sequence[Round], clean: Sequence[Round]) -> StepFigure:
    own, peak = [r.seconds for r in found], max(r.peak_mib for r in found)
    return StepFigure(
        name,
        own,
        [r.steps for r in found],
        statistics.median(own),
        ratio(own, [r.seconds for r in clean]),
        peak,
        peak - max(r.peak_mib for r in clean),
    )


def set_up_training(
    cfg: CfgNode, dataset: str, entries: Sequence[dict[str, Any]], stock_loader: bool
) -> None:
    """Build model, optimizer and loader of a config whose data set has the entries; with
    ``stock_loader`` that of Detectron2.
    """
    torch.manual_seed(0)
    np.random.seed(0)
    DatasetCatalog.register(dataset, lambda: list(entries))
    model = CompressionTrainer.build_model(cfg)
    detector: Any = model.detector if isinstance(model, CompressedDetector) else model
    for name, module in detector.backbone.bottom_up.named_modules():
        # nothing normalises a frozen norm at random weights: without this, values grow beyond all
        # bounds
        if name.endswith("conv3.norm"):
            nn.init.constant_(module.weight, 0.25)
    loader = (DefaultTrainer if stock_loader else CompressionTrainer).build_train_loader(cfg)
    _SET_UP["training"] = _Training(model, CompressionTrainer.build_optimizer(cfg, model), loader)


def measure_round(device: str, steps: int, warm_up: int, limit_s: float) -> Round:
    """Time training steps from a loader that begins afresh and ends with them: between rounds this
    process does nothing.

    The time is that of all steps together, so what a step leaves to be done while the next one runs
    is in it once.

    Args:
        limit_s: Seconds after which warm-up, or what is timed, ends before its last step.
    """
    model, optimizer, loader = _SET_UP["training"]
    inherited = process_mib("RssAnon") or 0.0  # by processes that the loader forks
    batches: Generator[list[dict[str, Any]], None, None] = iter(loader)
    trainer = SimpleTrainer(model, batches, optimizer)
    with EventStorage():
        _steps(device, trainer, warm_up, limit_s)
        seconds, done = _steps(device, trainer, steps, limit_s)
    peak = peak_memory(device)
    if device == "cpu":
        peak += memory_of_children(inherited)
    batches.close()
    optimizer.zero_grad()
    if device != "cpu":
        torch.cuda.empty_cache()  # for the processes whose turn is next
    return Round(seconds / done, done, peak)


def _steps(device: str, trainer: SimpleTrainer, count: int, limit_s: float) -> tuple[float, int]:
    """Seconds, and steps done."""
    wait_for(device)
    started, done = time.perf_counter(), 0
    while done < count and (not done or time.perf_counter() - started < limit_s):
        trainer.run_step()
        trainer.iter += 1
        done += 1
    wait_for(device)
    return time.perf_counter() - started, done


def training_table(settings: BenchSettings, figures: Sequence[StepFigure]) -> str:
    """Markdown, and what was measured."""
    what = (
        f"{settings.detector} on drawn scenes of COCO's sizes; images a step: "
        f"{settings.images_per_step}, shorter side: {settings.min_size}, "
        f"loader processes: {settings.workers}; {settings.codec}; median of {settings.repeat}:"
    )
    titles = ["training step", "seconds", "without a codec = 1", "peak memory, MiB"]
    lines = [
        [
            VARIANTS[f.variant],
            f"{f.median_s:.3g}",
            f"{f.ratio:.2f}",
            f"{f.peak_mib:.0f}",
            f"{f.above_mib:+.0f}",
        ]
        for f in figures
    ]
    return f"{what}\n\n{markdown_table([*titles, 'above the detector alone'], lines)}"


def config_of(settings: BenchSettings, variant: str) -> CfgNode:
    """The training of a variant, from random weights."""
    cfg = load_config(settings.detector)
    cfg.SEED, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = 1, "", settings.device
    # the zoo's weights have it within; random ones would diverge
    cfg.MODEL.PIXEL_STD = [57.4, 57.1, 58.4]
    cfg.DATASETS.TRAIN, cfg.DATALOADER.NUM_WORKERS = (_DATASET,), settings.workers
    cfg.INPUT.MIN_SIZE_TRAIN = (settings.min_size,)
    cfg.INPUT.MAX_SIZE_TRAIN = settings.min_size * 5 // 3
    cfg.SOLVER.IMS_PER_BATCH = settings.images_per_step
    # so low that all steps are alike
    cfg.SOLVER.BASE_LR = cfg.SALCOMPRESS.MODEL.CODEC_LR = 1e-8
    if variant in ("mapper", "gpu"):
        cfg.SALCOMPRESS.STAGE = variant
        cfg.SALCOMPRESS.TRAIN_CODEC = settings.codec_on(
            "cpu" if variant == "mapper" else settings.device
        )
    elif variant not in ("none", "stored"):
        cfg.SALCOMPRESS.STAGE, cfg.SALCOMPRESS.MODEL.TRAINS = "model", variant
        cfg.SALCOMPRESS.MODEL.CODEC = settings.codec_on(settings.device)
    return cfg
