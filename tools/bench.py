#!/usr/bin/env python3
"""Speed and memory in Detectron2 on this machine, as Markdown: the stage that compresses pictures,
and training steps of a detector, from files and from stored streams.

tools/bench.py --json bench.json
tools/bench.py stage --device cuda --batches 1 2 4 8 16
"""

import argparse
from pathlib import Path

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs.salient.networks import default_device

if __name__ == "__main__":
    with errors_in_one_line("tools/bench.py"):  # which says how to install Detectron2
        from salcompress.bench.detectron import PARTS, run_bench
        from salcompress.bench.settings import VARIANTS, default_settings

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: both)"
    )
    parser.add_argument(
        "--device",
        default=default_device(),
        help="cpu, cuda, ... (default: cuda where there is one)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="all figures, each repeat among them; written after each part",
    )
    option = parser.add_argument_group("sizes", "defaults on a CPU / on CUDA").add_argument
    option("--codec", metavar="SPEC", help="the learned codec at one quality (salient:q=0.3)")
    option(
        "--batches",
        type=int,
        nargs="+",
        metavar="N",
        help="batch sizes of the stage (1 4 / 1 4 16)",
    )
    option(
        "--images",
        type=int,
        metavar="N",
        help="images that go through the stage for one timing (8 / 128)",
    )
    option(
        "--variants", nargs="+", metavar="NAME", help=f"of training: {', '.join(VARIANTS)} (all)"
    )
    option(
        "--detector",
        metavar="CONFIG",
        help="of training, a file or a name of the model zoo "
        "(COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml)",
    )
    option("--images-per-step", type=int, metavar="N", help="of training (2 / 8)")
    option(
        "--min-size",
        type=int,
        metavar="PIXELS",
        help="shorter side of what the detector sees (256 / 800)",
    )
    option("--workers", type=int, metavar="N", help="processes of the loader (1 / 2)")
    option("--repeat", type=int, metavar="N", help="timings behind each median (3 / 5)")
    option("--steps", type=int, metavar="N", help="training steps behind each timing (2 / 20)")
    option("--warm-up", type=int, metavar="N", help="steps before them (1 / 5)")
    option(
        "--round-s",
        type=float,
        metavar="S",
        help="seconds after which warm-up, or a timing, ends before its last step (30)",
    )
    args = vars(parser.parse_args())
    with errors_in_one_line(parser.prog):
        parts, device, out = (args.pop(name) for name in ("parts", "device", "json"))
        run_bench(
            parts,
            default_settings(
                device, **{name: value for name, value in args.items() if value is not None}
            ),
            out,
        )
