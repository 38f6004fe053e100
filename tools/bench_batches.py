#!/usr/bin/env python3
"""Images a second that the learned codec takes in batches of tensors, on drawn scenes of COCO's
sizes: with CUDA graphs and without, one padded batch or one for each padded size, bits counted or
streams written and read. Then how many operations a batch takes.

tools/bench_batches.py --device cuda --batches 1 4 16
"""

import argparse
import itertools
import time

import torch

from salcompress.codecs import load_codec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.networks import default_device
from salcompress.data.scenes import make_scene
from salcompress.reporting.tables import markdown_line, markdown_table

SIZES = ((480, 640), (640, 480), (427, 640), (375, 500))
"""Heights and widths that are frequent in COCO."""


def seconds_of(codec: BatchedCodec, images, size: int, limit_s: float) -> float:
    """Of the quickest of some turns over the images, after two that capture."""
    seconds, ends = [], time.perf_counter() + limit_s
    while len(seconds) < 3 or (time.perf_counter() < ends and len(seconds) < 10):
        started = time.perf_counter()
        batches = [codec.start(images[k : k + size]) for k in range(0, len(images), size)]
        # which waits until they are known
        assert all(bits > 0 for batch in batches for bits in batch.num_bits())
        seconds.append(time.perf_counter() - started)
    return min(seconds[2:])


def codec_of(args, saliency: str, graphs: bool, **options) -> BatchedCodec:
    codec = load_codec(f"salient:q=0.3,saliency={saliency},device={args.device}")
    batched = BatchedCodec(codec, **options)
    batched.captured.captures = graphs and batched.captured.captures
    return batched


def kernels_of(codec: BatchedCodec, images) -> tuple[int, int]:
    """Operations that the host begins for a batch that came before, and of which kind: launches of
    kernels and graphs on CUDA, operations of torch on a CPU.
    """
    on_cuda = codec.device.type == "cuda"
    kinds = torch.profiler.ProfilerActivity
    for _ in range(3):
        codec.start(images).num_bits()
    with torch.profiler.profile(
        activities=[kinds.CUDA, kinds.CPU] if on_cuda else [kinds.CPU]
    ) as p:
        codec.start(images).num_bits()
    names = [event.name for event in p.events()]
    if not on_cuda:
        return sum(name.startswith("aten::") for name in names), 0
    return (
        sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in names),
        sum(name.startswith("cudaGraphLaunch") for name in names),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default=default_device(), help="default: cuda where there is one")
    add("--batches", type=int, nargs="+", default=[1, 4, 16], help="sizes (default: 1 4 16)")
    add("--images", type=int, default=64, help="that are timed (default: 64)")
    add("--limit", type=float, default=0.5, help="seconds for a line (default: 0.5)")
    args = parser.parse_args()
    images = [
        torch.from_numpy(make_scene(7, k, *SIZES[k % len(SIZES)]).image.copy()).permute(2, 0, 1)
        for k in range(args.images)
    ]
    images = [image.contiguous() for image in images]
    on_cuda = args.device.startswith("cuda")
    images = [image.pin_memory() for image in images] if on_cuda else images
    with_or_without = (True, False) if on_cuda else (False,)
    started = time.perf_counter()
    head = ["rate", "saliency", "transforms", "batch", "sizes", "graphs", "images/s"]
    print(markdown_table([*head, "MiB kept"], []), flush=True)
    for real, saliency, mixed, together, graphs in itertools.product(
        (False, True), ("uniform", "network"), (False, True), (True, False), with_or_without
    ):
        # what is no default, and what neither graphs nor streams change, is measured least
        is_usual = not mixed and together == on_cuda
        if (real and not graphs and on_cuda) or ((real or not graphs) and not is_usual):
            continue
        options = {"real_streams": real, "mixed_precision": mixed, "mixed_sizes": together}
        codec = codec_of(args, saliency, graphs, **options)
        for size in args.batches:
            timed = images[: max(size, args.images // (2 if real or size == 1 else 1))]
            rate = len(timed) / seconds_of(codec, timed, size, args.limit)
            names = "streams" if real else "counted", saliency, "bfloat16" if mixed else "float32"
            kinds = "mixed" if together else "alike", "yes" if graphs else "no"
            kept = f"{codec.captured.num_graphs}: {codec.captured.num_bytes / 2**20:.0f}"
            print(markdown_line([*names, str(size), *kinds, f"{rate:.1f}", kept]), flush=True)
    streams = codec_of(args, "uniform", on_cuda, real_streams=True).start(images[:16]).streams()
    decoder = codec_of(args, "uniform", on_cuda)
    print(markdown_table(["decoded", "images/s"], []), flush=True)
    for size in args.batches:
        decoder.decode(streams[:size])
        began = time.perf_counter()
        for k in range(0, len(streams), size):
            decoded = decoder.decode(streams[k : k + size])
        decoded[-1].cpu()
        rate = len(streams) / (time.perf_counter() - began)
        print(markdown_line([f"in batches of {size}", f"{rate:.1f}"]), flush=True)
    print(markdown_table(["operations", "batch", "graphs", "kernels", "replays"], []), flush=True)
    for saliency, size, graphs in itertools.product(
        ("uniform", "network"), args.batches, with_or_without
    ):
        counts = kernels_of(codec_of(args, saliency, graphs), images[:size])
        line = [saliency, str(size), "yes" if graphs else "no", *map(str, counts)]
        print(markdown_line(line), flush=True)
    print(f"in {time.perf_counter() - started:.0f} s")
