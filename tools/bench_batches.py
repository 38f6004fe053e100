#!/usr/bin/env python3
"""Images a second that the learned codec takes in batches of tensors, with counted bits, on drawn
scenes of COCO's sizes.

tools/bench_batches.py --device cuda --batches 1 4 16
"""

import argparse
import time

import torch

from salcompress.codecs import load_codec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.networks import default_device
from salcompress.data.scenes import make_scene
from salcompress.reporting.tables import markdown_line, markdown_table

SIZES = ((480, 640), (640, 480), (427, 640), (375, 500))
"""Heights and widths that are frequent in COCO."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device",
        default=default_device(),
        help="cpu, cuda, ... (default: cuda where there is one)",
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 4, 16], help="batch sizes (default: 1 4 16)"
    )
    parser.add_argument(
        "--images", type=int, default=64, help="that are timed, three times (default: 64)"
    )
    args = parser.parse_args()
    images = [
        torch.from_numpy(make_scene(7, k, *SIZES[k % len(SIZES)]).image)
        .permute(2, 0, 1)
        .contiguous()
        for k in range(args.images)
    ]
    images = [image.pin_memory() for image in images] if args.device.startswith("cuda") else images
    print(markdown_table(["saliency", "transforms", "batch", "images/s"], []))
    for saliency in ("uniform", "network"):
        for mixed_precision in (False, True):
            codec = BatchedCodec(
                load_codec(f"salient:q=0.3,saliency={saliency},device={args.device}"),
                mixed_precision=mixed_precision,
            )
            for size in args.batches:
                seconds = []
                for _ in range(3):
                    started = time.perf_counter()
                    batches = [
                        codec.start(images[k : k + size]) for k in range(0, len(images), size)
                    ]
                    assert all(
                        bits > 0 for batch in batches for bits in batch.num_bits()
                    )  # waits until they are known
                    seconds.append(time.perf_counter() - started)
                precision = "bfloat16" if mixed_precision else "float32"
                rate = f"{len(images) / min(seconds[1:]):.1f}"
                print(markdown_line([saliency, precision, str(size), rate]), flush=True)
