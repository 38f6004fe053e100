"""Speed and memory in Detectron2 on this machine: the stage that compresses, and training steps
with the codec in each of its places.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode

from salcompress.bench import isolated_process
from salcompress.bench.isolated_process import Round, StageCase
from salcompress.bench.scenes import coco_size_scenes, write_scene
from salcompress.codecs import SalientCodec, load_codec
from salcompress.codecs.salient.networks import check_device
from salcompress.detectron.config import load_config
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.process import cpu_name

VARIANTS = {
    "none": "without a codec",
    "mapper": "codec in the mapper",
    "gpu": "codec behind the loader",
    "codec": "codec in the model, trained for a frozen detector",
    "detector": "codec in the model, frozen, and the detector trained",
}
"""Of training: where the codec is, by name. The first is what the others are compared with."""
_DATASET = "salcompress_bench"


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """What is measured, and how often; the defaults take minutes on two CPU cores.

    Attributes:
        device: "cpu", "cuda", ...
        codec: Specification of the learned codec at one quality, without a device.
        batches: Batch sizes of the stage; 1, which the others are compared with, comes in any case.
        images: How many go through the stage for one timing.
        variants: Of training, names of ``VARIANTS``; "none" comes in any case.
        images_per_step: Of training.
        min_size: Shorter side that the detector's pictures are resized to.
        workers: Processes of the loader.
        repeat: Timings behind each median.
        steps: Of training, behind one timing.
        warm_up: Steps before them, from a loader that begins afresh.
        round_s: Seconds after which warm-up, or what is timed, ends before its last step.

    Raises:
        SettingError: A setting cannot be used.
    """

    device: str
    codec: str = "salient:q=0.3"
    batches: tuple[int, ...] = (1, 4)
    images: int = 8
    variants: tuple[str, ...] = tuple(VARIANTS)
    images_per_step: int = 2
    min_size: int = 256
    workers: int = 1
    repeat: int = 3
    steps: int = 2
    warm_up: int = 1
    round_s: float = 30.0

    def __post_init__(self):
        check_device(self.device)
        if torch.device(self.device).type == "cpu":  # "cpu:0" is another name
            object.__setattr__(self, "device", "cpu")
        codec = load_codec(self.codec)
        if not isinstance(codec, SalientCodec) or codec.device:
            raise SettingError(
                "codec must be the learned one without a device, such as salient:q=0.3; got "
                f"{self.codec!r}"
            )
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown:
            raise SettingError(f"unknown variant {unknown[0]!r}; valid: {', '.join(VARIANTS)}")
        for name in ("images_per_step", "min_size", "repeat", "steps", "warm_up", "round_s"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} must be positive, got {getattr(self, name)}")
        object.__setattr__(self, "batches", tuple(sorted({1, *self.batches})))
        object.__setattr__(
            self, "variants", tuple(name for name in VARIANTS if name in ("none", *self.variants))
        )
        if self.batches[0] < 1 or self.workers < 0:
            raise SettingError(
                f"batches must be at least 1 and workers at least 0, got {self.batches[0]} and "
                f"{self.workers}"
            )
        if self.images < self.batches[-1]:
            raise SettingError(
                f"images must be at least the largest batch, {self.batches[-1]}; got {self.images}"
            )

    def codec_on(self, device: str) -> str:
        """Specification of the codec on a device."""
        return f"{self.codec}{',' if ':' in self.codec else ':'}device={device}"


def default_settings(device: str, **others: Any) -> BenchSettings:
    """Settings that suit a device: the usual sizes on a GPU.

    Args:
        others: What is to be otherwise, by name.

    Raises:
        SettingError: A setting cannot be used.
    """
    on_gpu = {
        "batches": (1, 4, 16),
        "images": 128,
        "images_per_step": 8,
        "min_size": 800,
        "workers": 2,
        "repeat": 5,
        "steps": 20,
        "warm_up": 5,
    }
    return BenchSettings(device, **({} if device.startswith("cpu") else on_gpu) | others)


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


def run_bench(parts: Sequence[str], settings: BenchSettings, out: Path | None = None) -> None:
    """Measure the named parts, all if none is named; print each as soon as it is measured and write
    all figures so far as JSON to ``out``.

    Raises:
        SettingError: A part is unknown, or there is not enough memory.
        OutputError: ``out`` cannot be written: said before anything is measured.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise SettingError(f"unknown bench part {unknown[0]!r}; valid: {', '.join(PARTS)}")
    content: dict[str, Any] = {
        "machine": describe_machine(settings.device),
        "settings": dataclasses.asdict(settings),
    }
    print(content["machine"], flush=True)
    _keep(out, content)
    for part in parts or PARTS:
        measure, table = PARTS[part]
        figures = measure(settings)
        print(f"\n{table(settings, figures)}", flush=True)
        content[part] = [figure._asdict() for figure in figures]
        _keep(out, content)


def _keep(out: Path | None, content: dict[str, Any]) -> None:
    if out is not None:
        write_atomically(out, json.dumps(content, indent=1))


def describe_machine(device: str) -> str:
    """The device's name and torch's version."""
    if device == "cpu":
        return f"{cpu_name()}, {torch.get_num_threads()} threads on {os.cpu_count()} cores, torch {torch.__version__}"
    return f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} CPU cores, torch {torch.__version__}"


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
    with isolated_process.process_of_its_own("the stage") as run:
        seconds, peaks = run(
            isolated_process.time_stage, settings.device, codec, images, cases, settings.repeat
        )
    figures = []
    for case in cases:
        before, peak = 0.0, peaks[case]
        if on_cpu:
            with isolated_process.process_of_its_own("the stage") as run:
                before, peak = run(
                    isolated_process.memory_of_stage, settings.device, codec, images, case
                )
        own, single = (
            [s / len(images) for s in seconds[c]] for c in (case, case._replace(batch=1))
        )
        figures.append(
            StageFigure(
                *case, own, 1 / statistics.median(own), _ratio(own, single), peak, peak - before
            )
        )
    return figures


def measure_training(settings: BenchSettings) -> list[StepFigure]:
    """Steps of Faster R-CNN R50-FPN from random weights on COCO-size scenes, each variant in a
    process of its own, in turn.

    Raises:
        SettingError: There is not enough memory.
    """
    device, rounds = settings.device, {name: [] for name in settings.variants}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scenes = coco_size_scenes(max(settings.images, settings.images_per_step))
        entries = [write_scene(Path(folder) / f"{k}.jpg", scene) for k, scene in enumerate(scenes)]
        runs = {
            name: stack.enter_context(isolated_process.process_of_its_own(VARIANTS[name]))
            for name in rounds
        }
        for name, run in runs.items():
            run(
                isolated_process.set_up_training,
                _config(settings, name),
                _DATASET,
                entries,
                name == "none",
            )
        for k in range(settings.repeat):
            for name in reversed(runs) if k % 2 else runs:  # what drifts with time hits all alike
                rounds[name].append(
                    runs[name](
                        isolated_process.measure_round,
                        device,
                        settings.steps,
                        settings.warm_up,
                        settings.round_s,
                    )
                )
    return [_step_figure(name, found, rounds["none"]) for name, found in rounds.items()]


def _step_figure(name: str, found: Sequence[Round], clean: Sequence[Round]) -> StepFigure:
    own, peak, detectors = (
        [r.seconds for r in found],
        max(r.peak_mib for r in found),
        max(r.peak_mib for r in clean),
    )
    return StepFigure(
        name,
        own,
        [r.steps for r in found],
        statistics.median(own),
        _ratio(own, [r.seconds for r in clean]),
        peak,
        peak - detectors,
    )


def stage_table(settings: BenchSettings, figures: Sequence[StageFigure]) -> str:
    """Markdown, and what was measured."""
    rows = [
        f"{settings.codec}; drawn scenes of COCO's sizes: {settings.images}; median of "
        f"{settings.repeat}:",
        "",
        "| rate | transforms | batch | images/s | time of an image, batch 1 = 1 | peak memory, "
        "MiB | of it the stage's |",
        "| --- " * 7 + "|",
    ]
    for f in figures:
        rows.append(
            f"| {'real streams' if f.real_streams else 'counted bits'} | "
            f"{'bfloat16' if f.mixed_precision else 'float32'} | {f.batch} | "
            f"{f.images_per_s:.3g} | {f.ratio:.2f} | {f.peak_mib:.0f} | {f.above_mib:.0f} |"
        )
    return "\n".join(rows)


def training_table(settings: BenchSettings, figures: Sequence[StepFigure]) -> str:
    """Markdown, and what was measured."""
    what = (
        "Faster R-CNN R50-FPN on drawn scenes of COCO's sizes; images a step: "
        f"{settings.images_per_step}, shorter side: {settings.min_size}, "
        f"loader processes: {settings.workers}; {settings.codec}; median of {settings.repeat}:"
    )
    rows = [
        what,
        "",
        "| training step | seconds | without a codec = 1 | peak memory, MiB | above the "
        "detector's own |",
        "| --- " * 5 + "|",
    ]
    rows += [
        f"| {VARIANTS[f.variant]} | {f.median_s:.3g} | {f.ratio:.2f} | {f.peak_mib:.0f} | "
        f"{f.above_mib:+.0f} |"
        for f in figures
    ]
    return "\n".join(rows)


PARTS = {"stage": (measure_stage, stage_table), "training": (measure_training, training_table)}


def _ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, reference))


def _config(settings: BenchSettings, variant: str) -> CfgNode:
    cfg = load_config("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml")
    cfg.SEED, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = 1, "", settings.device
    cfg.MODEL.PIXEL_STD = [
        57.4,
        57.1,
        58.4,
    ]  # the zoo's weights have it within; random ones would diverge
    cfg.DATASETS.TRAIN, cfg.DATALOADER.NUM_WORKERS = (_DATASET,), settings.workers
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (
        (settings.min_size,),
        settings.min_size * 5 // 3,
    )
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SALCOMPRESS.MODEL.CODEC_LR = (
        settings.images_per_step,
        1e-8,
        1e-8,
    )  # all steps alike
    if variant in ("mapper", "gpu"):
        cfg.SALCOMPRESS.STAGE = variant
        cfg.SALCOMPRESS.TRAIN_CODEC = settings.codec_on(
            "cpu" if variant == "mapper" else settings.device
        )
    elif variant != "none":
        cfg.SALCOMPRESS.STAGE, cfg.SALCOMPRESS.MODEL.TRAINS, cfg.SALCOMPRESS.MODEL.CODEC = (
            "model",
            variant,
            settings.codec_on(settings.device),
        )
    return cfg
