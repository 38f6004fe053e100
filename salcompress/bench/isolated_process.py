"""The processes of the bench, and what they do: each measures on its own, so that its memory is its
own.
"""

import concurrent.futures
import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.utils.events import EventStorage
from torch import nn
from torch.optim import Optimizer

from salcompress.detectron.gpu_stage import CompressedLoader
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.trainer import CompressionTrainer
from salcompress.errors import SettingError
from salcompress.image import swap_channels
from salcompress.process import end_with_parent, peak_mib, process_mib


class StageCase(NamedTuple):
    """One way to run the stage."""

    real_streams: bool
    mixed_precision: bool
    batch: int


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


@contextlib.contextmanager
def process_of_its_own(what: str) -> Iterator[Callable[..., Any]]:
    """A new process, in which what is yielded calls functions.

    Raises:
        SettingError: It ran out of memory, or was killed, as systems do for want of memory.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), end_with_parent
    ) as pool:

        def run(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result()
            except (
                MemoryError,
                RuntimeError,
            ) as error:  # among them CUDA's, and that of a process that is gone
                if type(error) is RuntimeError and "DefaultCPUAllocator" not in str(error):
                    raise
                raise SettingError(
                    f"{what}: not enough memory, or its process was ended "
                    f"({' '.join(str(error).split())[:200]}); take smaller "
                    "batches, fewer images per step, or a smaller min-size"
                ) from error

        yield run


def time_stage(
    device: str, codec: str, images: Sequence[np.ndarray], cases: Sequence[StageCase], repeat: int
) -> tuple[dict[StageCase, list[float]], dict[StageCase, float]]:
    """Seconds in which the images pass the stage, in each repeat, and on CUDA its peak memory in
    MiB; the cases in turn, once before to warm up.
    """
    loaders = {case: _stage(codec, images, case) for case in cases}
    seconds, peaks = {case: [] for case in cases}, {}
    for case, loader in loaders.items():
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        _pass(device, loader)
        peaks[case] = _peak(device)
    for k in range(repeat):
        for case in reversed(cases) if k % 2 else cases:  # what drifts with time hits all alike
            seconds[case].append(_pass(device, loaders[case]))
    return seconds, peaks


def memory_of_stage(
    device: str, codec: str, images: Sequence[np.ndarray], case: StageCase
) -> tuple[float, float]:
    """Peak memory in MiB of this process before the codec came and after the images passed the
    stage.
    """
    before = _peak(device)
    _pass(device, _stage(codec, images, case))
    return before, _peak(device)


def _stage(codec: str, images: Sequence[np.ndarray], case: StageCase) -> CompressedLoader:
    entries = [
        {
            "image": torch.from_numpy(swap_channels(image)).permute(2, 0, 1),
            "transforms": T.TransformList([]),
            "source_bits": 0,
            "codec_index": 0,
        }
        for image in images
    ]
    batches = [entries[k : k + case.batch] for k in range(0, len(entries), case.batch)]
    return CompressedLoader(
        batches, codec, real_streams=case.real_streams, mixed_precision=case.mixed_precision
    )


def _pass(device: str, loader: CompressedLoader) -> float:
    _wait(device)
    started = time.perf_counter()
    for _ in loader:
        pass
    _wait(device)
    return time.perf_counter() - started


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
    detector = model.detector if isinstance(model, CompressedDetector) else model
    for name, module in detector.backbone.bottom_up.named_modules():
        if name.endswith(
            "conv3.norm"
            # nothing normalises a frozen norm at random weights: without this, values grow beyond all
            # bounds
        ):
            module.weight.fill_(0.25)
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
    batches: Iterator[list[dict[str, Any]]] = iter(loader)
    trainer = SimpleTrainer(model, batches, optimizer)
    with EventStorage():
        _steps(device, trainer, warm_up, limit_s)
        seconds, done = _steps(device, trainer, steps, limit_s)
    peak = _peak(device)
    if device == "cpu":
        peaks = [
            process_mib("VmHWM", child.pid) or 0.0 for child in multiprocessing.active_children()
        ]
        peak += sum(max(0.0, of_child - inherited) for of_child in peaks)
    batches.close()
    optimizer.zero_grad()
    if device != "cpu":
        torch.cuda.empty_cache()  # for the processes whose turn is next
    return Round(seconds / done, done, peak)


def _steps(device: str, trainer: SimpleTrainer, count: int, limit_s: float) -> tuple[float, int]:
    """Seconds, and steps done."""
    _wait(device)
    started, done = time.perf_counter(), 0
    while done < count and (not done or time.perf_counter() - started < limit_s):
        trainer.run_step()
        trainer.iter += 1
        done += 1
    _wait(device)
    return time.perf_counter() - started, done


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _peak(device: str) -> float:
    return peak_mib() if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20
