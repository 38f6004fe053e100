"""Speed and memory of the stage that compresses behind the loader."""

import itertools
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.data import transforms as T

from salcompress.bench.isolated_process import peak_memory, process_of_its_own, wait_for
from salcompress.bench.scenes import coco_size_scenes
from salcompress.bench.settings import BenchSettings
from salcompress.detectron import CompressedLoader
from salcompress.image import swap_channels
from salcompress.reporting.tables import markdown_table


class StageCase(NamedTuple):
    """One way to run the stage."""

    real_streams: bool
    mixed_precision: bool
    batch: int


class StageFigure(NamedTuple):
    """The stage with one batch size."""

    real_streams: bool
    mixed_precision: bool
    batch: int
    seconds: list[float]
    """For one image, of each repeat."""
    images_per_s: float
    """Median."""
    ratio: float
    """Time of an image over that in batches of 1: median over the repeats of the quotient within
    one.
    """
    peak_mib: float
    above_mib: float
    """Above what the process had before the codec came."""


def measure_stage(settings: BenchSettings) -> list[StageFigure]:
    """Encoding and reconstruction by :class:`~salcompress.detectron.gpu_stage.CompressedLoader` of
    COCO-size scenes, the cases in turn.

    On a CPU the peak memory of each case is that of one more process, which does nothing else.

    Raises:
        SettingError: There is not enough memory.
    """
    on_cpu, codec = settings.device == "cpu", settings.codec_on(settings.device)
    images = [
        scene.image
        for scene in itertools.islice(
            itertools.cycle(coco_size_scenes(settings.images)), settings.images
        )
    ]
    cases = [
        StageCase(*case)
        for case in itertools.product(
            (True, False), (False,) if on_cpu else (False, True), settings.batches
        )
    ]
    with process_of_its_own("the stage") as run:
        seconds, peaks = run(time_stage, settings.device, codec, images, cases, settings.repeat)
    figures = []
    for case in cases:
        before, peak = 0.0, peaks[case]
        if on_cpu:
            with process_of_its_own("the stage") as run:
                before, peak = run(memory_of_stage, settings.device, codec, images, case)
        own, single = (
            [s / len(images) for s in seconds[c]] for c in (case, case._replace(batch=1))
        )
        figures.append(
            StageFigure(
                *case, own, 1 / statistics.median(own), ratio(own, single), peak, peak - before
            )
        )
    return figures


def time_stage(
    device: str, codec: str, images: Sequence[np.ndarray], cases: Sequence[StageCase], repeat: int
) -> tuple[dict[StageCase, list[float]], dict[StageCase, float]]:
    """Seconds in which the images pass the stage, in each repeat, and on CUDA its peak memory in
    MiB; the cases in turn, once before to warm up.
    """
    loaders = {case: _stage(codec, images, case) for case in cases}
    seconds: dict[StageCase, list[float]] = {case: [] for case in cases}
    peaks: dict[StageCase, float] = {}
    for case, loader in loaders.items():
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        _pass(device, loader)
        peaks[case] = peak_memory(device)
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
    before = peak_memory(device)
    _pass(device, _stage(codec, images, case))
    return before, peak_memory(device)


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
    wait_for(device)
    started = time.perf_counter()
    for _ in loader:
        pass
    wait_for(device)
    return time.perf_counter() - started


def stage_table(settings: BenchSettings, figures: Sequence[StageFigure]) -> str:
    """Markdown, and what was measured."""
    what = (
        f"{settings.codec}; drawn scenes of COCO's sizes: {settings.images}; median of "
        f"{settings.repeat}:"
    )
    titles = ["rate", "transforms", "batch", "images/s", "time of an image, batch 1 = 1"]
    titles += ["peak memory, MiB", "of it the stage's"]
    lines = [
        [
            "real streams" if f.real_streams else "counted bits",
            "bfloat16" if f.mixed_precision else "float32",
            str(f.batch),
            f"{f.images_per_s:.3g}",
            f"{f.ratio:.2f}",
            f"{f.peak_mib:.0f}",
            f"{f.above_mib:.0f}",
        ]
        for f in figures
    ]
    return f"{what}\n\n{markdown_table(titles, lines)}"


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the repeats of the quotient within one: what drifts with time cancels."""
    return statistics.median(a / b for a, b in zip(seconds, reference))
