"""The entropy coder's share of the learned codec, and whether more threads or processes help it."""

import concurrent.futures
import statistics
import time
from collections.abc import Callable, Sequence
from operator import truediv
from pathlib import Path

import numpy as np

from salcompress.codecs import Codec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.encoder import on_host, symbols_of, write
from salcompress.codecs.salient.symbols import HostSymbols
from salcompress.data.scenes import make_scene
from salcompress.image import read_image
from salcompress.workers import map_in_processes

_SIZES = ((512, 768), (480, 640))
_STREAMS = 48

Work = tuple[HostSymbols, tuple[int, int], int, bytes]
"""Arguments of :func:`~salcompress.codecs.salient.encoder.write`."""


def bench_coder(codecs: Sequence[Codec], path: Path | None, repeat: int) -> None:
    """Print both for each learned codec, on an image or on scenes of 768x512 and 640x480."""
    if path is None:
        images = [make_scene(5, 0, *size).image for size in _SIZES]
    else:
        images = [read_image(path)]
    for codec in codecs:
        if isinstance(codec, SalientCodec):
            print(f"  {codec.name}:{codec.setting}, median of {repeat}")
            for image in images:
                _print_share(codec, image, repeat)
            _print_throughput(codec, images[-1], repeat)


def _print_share(codec: SalientCodec, image: np.ndarray, repeat: int) -> None:
    """Time of the coder, and of the whole of which it is a part, taken in turn."""
    stream = codec.encode(image)
    whole: dict[str, list[float]] = {"encode": [], "decode": []}
    coder: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(repeat):
        whole["encode"].append(_seconds(lambda: codec.encode(image)))
        whole["decode"].append(_seconds(lambda: codec.decode(stream)))
        parts = codec.time_parts(image)
        coder["encode"].append(parts["coding"])
        coder["decode"].append(parts["decoding"])
    shares = ", ".join(
        f"{1e3 * statistics.median(coder[way]):.1f} of {1e3 * statistics.median(whole[way]):.0f} ms"
        f" to {way} ({100 * statistics.median(map(truediv, coder[way], whole[way])):.1f} %)"
        for way in whole
    )
    print(f"    {image.shape[1]}x{image.shape[0]}, {len(stream)} bytes: the coder takes {shares}")


def _print_throughput(codec: SalientCodec, image: np.ndarray, repeat: int) -> None:
    """Streams a second that are written from symbols on the host, as ratios within each round."""
    (symbols,) = on_host(symbols_of(codec, [image]))
    works = [(symbols, image.shape[:2], codec.base_level, codec.model_fingerprint)] * _STREAMS
    ways: dict[str, Callable[[], float]] = {
        "one thread": lambda: _in_threads(works, 1),
        "two threads": lambda: _in_threads(works, 2),
        "one process": lambda: _in_processes(works, 1),
        "two processes": lambda: _in_processes(works, 2),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeat):
        for way, measure in ways.items():
            seconds[way].append(measure())
    first = seconds.pop("one thread")
    ratios = ", ".join(
        f"{statistics.median(map(truediv, first, taken)):.2f} by {way}"
        for way, taken in seconds.items()
    )
    rate = _STREAMS / statistics.median(first)
    print(f"    one thread writes {rate:.0f} streams/s from symbols; times that: {ratios}")


def _in_threads(works: Sequence[Work], threads: int) -> float:
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return _seconds(lambda: list(pool.map(_write, works)))


def _in_processes(works: Sequence[Work], processes: int) -> float:
    """Seconds, with the symbols sent and the streams brought back, once the processes run."""
    warm_up = 4 * processes
    with map_in_processes(_write, [works[0]] * warm_up + list(works), processes) as streams:
        for _ in range(warm_up):
            next(streams)
        return _seconds(lambda: list(streams))


def _write(work: Work) -> bytes:
    return write(*work)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
