"""Speed and memory on this machine: codecs, and the harness around codec and detector."""

import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from salcompress.bench.coder import bench_coder
from salcompress.codecs import Codec, load_codec, load_codecs
from salcompress.codecs.salient import SalientCodec
from salcompress.data.coco import load_dataset
from salcompress.data.scenes import make_scene, write_scenes
from salcompress.detectors import load_detector
from salcompress.errors import SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_distortion import CURVES, RateDistortionPoint, measure_curve
from salcompress.evaluation.records import read_records
from salcompress.evaluation.round_trip import CodedImage, compared
from salcompress.evaluation.workers import CodingTask, coded_images
from salcompress.image import decode_image, read_image
from salcompress.process import peak_mib
from salcompress.reporting.rate_distortion_tables import QUALITIES, rate_difference
from salcompress.reporting.tables import number

_CURVES = {name: CURVES[name] for name in ("salient", "jpeg", "webp", "avif")}
_TYPICAL = ("jpeg:q=30", "jpeg2000:bpp=0.5", "webp:q=30", "avif:q=30", "png", "salient:q=0.4")


def run_bench(
    parts: Sequence[str],
    codecs: Sequence[Codec] | None,
    image: Path | None,
    repeat: int,
    photographs: Sequence[Path] = (),
) -> None:
    """Measure and print the named parts, all if none is named; rate and distortion where there are
    photographs.

    Raises:
        SettingError: A part is unknown, or ``repeat`` is not positive.
    """
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        raise SettingError(f"unknown bench part {unknown[0]!r}; valid: {', '.join(_PARTS)}")
    if repeat < 1:
        raise SettingError(f"repeat must be at least 1, got {repeat}")
    codecs = codecs or [load_codec(spec) for spec in _TYPICAL]
    import torch

    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for part in parts or _PARTS:
        print(f"\n{part}")
        _PARTS[part](codecs, image, repeat)
    if photographs:
        _print_rate_distortion([read_image(path) for path in photographs])


class CodecTimes(NamedTuple):
    """How long a codec takes for one picture: medians in seconds."""

    label: str
    bpp: float
    encode_s: float
    decode_s: float
    parts: dict[str, float]
    """Of the learned codec's parts; empty for others."""


def time_codecs(codecs: Sequence[Codec], image: np.ndarray, repeat: int) -> list[CodecTimes]:
    """Time codecs on a picture, in turn, so that a busy moment of the machine meets all of them.

    Args:
        codecs: They are warmed up by one call each.
        image: uint8 (H, W, 3).
        repeat: Timings behind each median.
    """
    streams = [codec.encode(image) for codec in codecs]  # also the warm-up
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in codecs]
    for _ in range(repeat):
        for codec, stream, (encode, decode) in zip(codecs, streams, times):
            encode.append(_seconds(lambda: codec.encode(image)))
            decode.append(_seconds(lambda: codec.decode(stream)))
    found = []
    for codec, stream, (encode, decode) in zip(codecs, streams, times):
        parts = (
            [codec.time_parts(image) for _ in range(repeat)]
            if isinstance(codec, SalientCodec)
            else [{}]
        )
        found.append(
            CodecTimes(
                codec.label,
                8 * len(stream) / (image.shape[0] * image.shape[1]),
                statistics.median(encode),
                statistics.median(decode),
                {name: statistics.median(p[name] for p in parts) for name in parts[0]},
            )
        )
    return found


def _print_rate_distortion(images: Sequence[np.ndarray]) -> None:
    """Curves over the images by real streams, and the rate differences of the learned codec."""
    print(f"\nrate and distortion of {len(images)} images")
    curves = {name: measure_curve(load_codecs(spec), images) for name, spec in _CURVES.items()}
    for points in curves.values():
        for point in points:
            psnr = "exact" if point.psnr is None else f"{point.psnr:6.2f} dB"
            print(
                f"  {point.label:<42} {point.bpp:7.4f} bpp   {psnr:>9}   MS-SSIM "
                f"{number(point.ms_ssim, 4, 'too small')}   perceptual {point.perceptual:.4f}"
            )
    for name in _CURVES:
        if name == "salient":
            continue
        for figure in QUALITIES:
            for limit in (math.inf, 0.5):
                print(
                    f"  salient against {name}, BD-rate of "
                    f"{figure}{'' if limit > 1 else ', points up to 0.5 bpp'}: "
                    f"{_in_words(curves[name], curves['salient'], figure, limit)}"
                )


def _in_words(
    anchor: Sequence[RateDistortionPoint],
    test: Sequence[RateDistortionPoint],
    figure: str,
    limit: float,
) -> str:
    try:
        found = rate_difference(anchor, test, figure, limit)
    except SettingError as error:
        return f"not comparable: {error}"
    return f"{found.percent:+.1f} % over [{found.low:.4g}, {found.high:.4g}]"


def _bench_codecs(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    image = (
        make_scene(seed=5, index=0, height=512, width=768).image
        if path is None
        else read_image(path)
    )
    height, width, _ = image.shape
    print(f"median of {repeat}, {width}x{height}, the codecs in turn")
    for codec, times in zip(codecs, time_codecs(codecs, image, repeat)):
        print(
            f"  {codec.name + ':' + codec.setting:<38} {times.bpp:7.3f} bpp   "
            f"encode {1e3 * times.encode_s:7.1f} ms   decode {1e3 * times.decode_s:6.1f} ms"
        )
        if times.parts:
            parts = ", ".join(f"{name} {1e3 * s:.1f}" for name, s in times.parts.items())
            print(f"    of which {parts} ms")
    _print_peaks(codecs, image)


def _bench_large(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    """One picture of 12 megapixels by each codec, in a process of its own."""
    _print_peaks(codecs, make_scene(seed=5, index=0, height=3000, width=4000).image)


def _print_peaks(codecs: Sequence[Codec], image: np.ndarray) -> None:
    for codec in codecs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            idle, peak, encode_s, decode_s = pool.apply(_peak_of_coding, (codec, image))
        print(
            f"  {codec.name + ':' + codec.setting:<38} a process that encodes and decodes "
            f"{image.shape[1]}x{image.shape[0]}, once: "
            f"peak memory {peak:.0f} MiB, {idle:.0f} before; {encode_s:.2f} s and {decode_s:.2f} "
            "s, the first call's set-up included"
        )


def _peak_of_coding(codec: Codec, image: np.ndarray) -> tuple[float, float, float, float]:
    """Peak memory in MiB before and after one encoding and decoding, and the seconds of each."""
    idle = peak_mib()
    started = time.perf_counter()
    stream = codec.encode(image)
    encoded = time.perf_counter()
    codec.decode(stream)
    seconds = encoded - started, time.perf_counter() - encoded
    return idle, peak_mib(), *seconds


def _bench_harness(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    """Time of an evaluation that neither codec nor detector accounts for, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        annotations = write_scenes(Path(folder) / "scenes", 40, seed=5, height=480, width=640)
        dataset = load_dataset(annotations.parent / "images", annotations)
        detector = load_detector("scenes", dataset.category_ids)
        detector(read_image(dataset.images[0].path))  # warm-up
        started = time.perf_counter()
        evaluate(dataset, detector, codecs, Path(folder) / "out")
        wall = time.perf_counter() - started
        work = sum(
            (r.encode_s or 0) + (r.decode_s or 0) + (r.detect_s or 0)
            for file in (Path(folder) / "out" / "records").iterdir()
            for r in read_records(file).values()
        )
        images = [image.path for image in dataset.images]
        sources = [path.read_bytes() for path in images]
        reading = _seconds(lambda: [decode_image(source) for source in sources])
        pixels = [decode_image(source) for source in sources]
        shifted = [
            [CodedImage(np.roll(a, k + 1, axis=1), 0, None, None) for k in range(len(codecs))]
            for a in pixels
        ]
        metrics = _seconds(lambda: [compared(b, a) for a, b in zip(pixels, shifted)])
    rest = wall - work - reading - metrics
    print(
        f"{len(images)} scenes of 640x480 x {len(codecs)} codecs, one process: {wall:.1f} s in all"
    )
    for what, seconds in (
        ("codec and detector", work),
        ("PSNR, MS-SSIM and perceptual distance", metrics),
        ("reading the images", reading),
        ("all else (records, AP, intervals, pictures)", rest),
    ):
        print(
            f"  {what:<44} {seconds:7.2f} s   {100 * seconds / work:6.1f} % of codec and detector"
        )


def _bench_memory(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    """Peak memory of an evaluation's process by number of images."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for num_images in (60, 600):
            annotations = write_scenes(Path(folder) / str(num_images), num_images, seed=5)
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                peaks.append(
                    pool.apply(
                        _peak_of_evaluation, (annotations, Path(folder) / f"out{num_images}")
                    )
                )
            print(f"  {num_images:4d} images of 320x240: peak {peaks[-1]:.0f} MiB")
        print(f"  growth {100 * (peaks[1] / peaks[0] - 1):+.1f} %")


def _peak_of_evaluation(annotations: Path, out: Path) -> float:
    dataset = load_dataset(annotations.parent / "images", annotations)
    detector = load_detector("scenes", dataset.category_ids)
    evaluate(dataset, detector, [load_codec("jpeg:q=30")], out)
    return peak_mib()


def _bench_workers(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    """Throughput of codec work by number of worker processes, processes warm."""
    with tempfile.TemporaryDirectory() as folder:
        annotations = write_scenes(Path(folder), 48, seed=5, height=480, width=640)
        images = load_dataset(annotations.parent / "images", annotations).images
        tasks = [CodingTask(image.path, (0,)) for image in images]
        for codec in codecs:
            seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}
            for _ in range(3):
                for workers, measured in seconds.items():
                    with coded_images([codec], tasks, workers) as coded:
                        for _ in range(min(12, len(tasks) // 2)):  # processes start and fill up
                            next(coded)
                        measured.append(_seconds(lambda: sum(1 for _ in coded)))
            medians = {
                workers: statistics.median(measured) for workers, measured in seconds.items()
            }
            print(
                f"  {codec.name + ':' + codec.setting:<38} 2 workers are "
                f"{medians[1] / medians[2]:.2f} x as fast as 1; "
                f"1 is {medians[0] / medians[1]:.2f} x as fast as none"
            )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


_PARTS = {
    "codecs": _bench_codecs,
    "coder": bench_coder,
    "large": _bench_large,
    "harness": _bench_harness,
    "memory": _bench_memory,
    "workers": _bench_workers,
}
