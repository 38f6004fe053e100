"""Images a second that the learned codec takes in batches of tensors.

:func:`run` is the whole of it: with CUDA graphs and without, one padded batch or one for each
padded size, bits counted or streams written, then streams read, then how many operations a batch
takes.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.codecs import SalientCodec, load_codec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.networks import check_device, default_device
from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.reporting.tables import markdown_line, markdown_table

_SIZES = ((480, 640), (640, 480), (427, 640), (375, 500))
"""Heights and widths that are frequent in COCO."""
_SALIENCIES = ("uniform", "network")


class BatchCase(NamedTuple):
    """One way to run the codec."""

    real_streams: bool = False
    saliency: str = "uniform"
    mixed_precision: bool = False
    mixed_sizes: bool = True
    """Whether images of several padded sizes go together."""
    graphs: bool = True
    """Whether CUDA graphs are captured where they can be."""

    def codec(self, device: str) -> BatchedCodec:
        """The codec that runs so."""
        codec = load_codec(f"salient:q=0.3,saliency={self.saliency},device={device}")
        assert isinstance(codec, SalientCodec)
        batched = BatchedCodec(
            codec,
            real_streams=self.real_streams,
            mixed_precision=self.mixed_precision,
            mixed_sizes=self.mixed_sizes,
        )
        batched.captured.captures = self.graphs and batched.captured.captures
        return batched


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`run`."""
    add = parser.add_argument
    add("--device", default=default_device(), help="default: cuda where there is one")
    add("--batches", type=int, nargs="+", default=[1, 4, 16], help="sizes (default: 1 4 16)")
    add("--images", type=int, default=64, help="that are timed (default: 64)")
    add("--limit", type=float, default=0.5, help="seconds for a line (default: 0.5)")


def run(args: argparse.Namespace) -> None:
    """Measure drawn scenes of COCO's sizes, and print each line as it is known.

    Raises:
        SettingError: There is no such device, or a number is not positive.
    """
    check_device(args.device)
    if min(*args.batches, args.images) < 1:
        raise SettingError(
            f"batches and images must be at least 1, got {args.batches} and {args.images}"
        )
    scenes = [make_scene(7, k, *_SIZES[k % len(_SIZES)]).image for k in range(args.images)]
    images = [torch.tensor(scene).permute(2, 0, 1).contiguous() for scene in scenes]
    if args.device.startswith("cuda"):
        images = [image.pin_memory() for image in images]
    started = time.perf_counter()
    print_rates(args.device, images, args.batches, args.limit)
    print_decoding(args.device, images[:16], args.batches)
    print_operations(args.device, images, args.batches)
    print(f"in {time.perf_counter() - started:.0f} s")


def print_rates(
    device: str, images: Sequence[Tensor], sizes: Sequence[int], limit_s: float
) -> None:
    """Images a second by case and batch size, and the graphs and the memory that are kept."""
    titles = ["rate", "saliency", "transforms", "batch", "sizes", "graphs", "images/s", "MiB kept"]
    print(markdown_table(titles, []), flush=True)
    for case in cases(device.startswith("cuda")):
        codec, is_real = case.codec(device), case.real_streams
        for size in sizes:
            count = max(size, len(images) // (2 if is_real or size == 1 else 1))
            timed = images[:count]
            rate = len(timed) / seconds_of(codec, timed, size, limit_s)
            line = ["streams" if is_real else "counted", case.saliency]
            line += ["bfloat16" if case.mixed_precision else "float32", str(size)]
            line += ["mixed" if case.mixed_sizes else "alike", _yes(case.graphs), f"{rate:.1f}"]
            line += [f"{codec.captured.num_graphs}: {codec.captured.num_bytes / 2**20:.0f}"]
            print(markdown_line(line), flush=True)


def cases(on_cuda: bool) -> list[BatchCase]:
    """The cases of :func:`print_rates`. What is no default, and what neither graphs nor streams
    change, is measured least.
    """
    chosen = []
    for values in itertools.product(
        (False, True), _SALIENCIES, (False, True), (True, False), _graphs(on_cuda)
    ):
        case = BatchCase(*values)
        is_usual = not case.mixed_precision and case.mixed_sizes == on_cuda
        if case.real_streams and on_cuda and not case.graphs:
            continue
        if is_usual or (case.graphs and not case.real_streams):
            chosen.append(case)
    return chosen


def seconds_of(codec: BatchedCodec, images: Sequence[Tensor], size: int, limit_s: float) -> float:
    """Of the quickest of some turns over the images, after two that capture."""
    seconds: list[float] = []
    ends = time.perf_counter() + limit_s
    while len(seconds) < 3 or (time.perf_counter() < ends and len(seconds) < 10):
        started = time.perf_counter()
        batches = [codec.start(images[k : k + size]) for k in range(0, len(images), size)]
        # which waits until they are known
        assert all(bits > 0 for batch in batches for bits in batch.num_bits())
        seconds.append(time.perf_counter() - started)
    return min(seconds[2:])


def print_decoding(device: str, images: Sequence[Tensor], sizes: Sequence[int]) -> None:
    """Images a second that are decoded from their streams, by batch size."""
    codec = BatchCase(real_streams=True, mixed_sizes=device.startswith("cuda")).codec(device)
    streams = codec.start(images).streams()
    print(markdown_table(["decoded", "images/s"], []), flush=True)
    for size in sizes:
        codec.decode(streams[:size])
        started = time.perf_counter()
        for k in range(0, len(streams), size):
            decoded = codec.decode(streams[k : k + size])
        decoded[-1].cpu()
        rate = len(streams) / (time.perf_counter() - started)
        print(markdown_line([f"in batches of {size}", f"{rate:.1f}"]), flush=True)


def print_operations(device: str, images: Sequence[Tensor], sizes: Sequence[int]) -> None:
    """Operations that the host begins for a batch, by saliency and batch size."""
    on_cuda = device.startswith("cuda")
    titles = ["operations", "batch", "graphs", "kernels", "replays"]
    print(markdown_table(titles, []), flush=True)
    for saliency, size, graphs in itertools.product(_SALIENCIES, sizes, _graphs(on_cuda)):
        case = BatchCase(saliency=saliency, mixed_sizes=on_cuda, graphs=graphs)
        counts = operations_of(case.codec(device), images[:size])
        line = [saliency, str(size), _yes(graphs), *map(str, counts)]
        print(markdown_line(line), flush=True)


def operations_of(codec: BatchedCodec, images: Sequence[Tensor]) -> tuple[int, int]:
    """Operations that the host begins for a batch that came before, and of which kind: launches of
    kernels and graphs on CUDA, operations of torch on a CPU.
    """
    on_cuda = codec.device.type == "cuda"
    kinds = torch.profiler.ProfilerActivity
    for _ in range(3):
        codec.start(images).num_bits()
    with torch.profiler.profile(
        activities=[kinds.CUDA, kinds.CPU] if on_cuda else [kinds.CPU]
    ) as profile:
        codec.start(images).num_bits()
    names = [event.name for event in profile.events()]
    if not on_cuda:
        return sum(name.startswith("aten::") for name in names), 0
    return (
        sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in names),
        sum(name.startswith("cudaGraphLaunch") for name in names),
    )


def _graphs(on_cuda: bool) -> tuple[bool, ...]:
    return (True, False) if on_cuda else (False,)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
