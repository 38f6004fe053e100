#!/usr/bin/env python3
"""Train the perceptual metric, in as many runs as it takes: each goes on from the checkpoint and
writes the weights so far.

python tools/train_metric.py --data photos more_photos --minutes 25 --out perceptual.safetensors
python tools/train_metric.py --triplets judged.csv --start perceptual.safetensors --steps 500 \\
    --resume mine.ckpt --out mine.safetensors
"""

import argparse
from pathlib import Path

import torch

from salcompress.cli.main import errors_in_one_line
from salcompress.files import write_atomically
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.loop import TrainSettings
from salcompress.training.metric.groups import consensus_groups
from salcompress.training.metric.judgements import read_bapps, read_triplets
from salcompress.training.metric.train import finish, train_metric
from salcompress.training.photographs import find_images
from salcompress.training.schedule import Cosine

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        type=Path,
        nargs="+",
        help="photographs; labels by certain order and agreement of published metrics",
    )
    source.add_argument(
        "--bapps", type=Path, help="human judgements in the layout of BAPPS: ref, p0, p1, judge"
    )
    source.add_argument(
        "--triplets",
        type=Path,
        help="human judgements, CSV of reference,a,b,fraction (share that finds a closer)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=25,
        help="wall time of this run, the making of --cache not counted",
    )
    parser.add_argument(
        "--steps", type=int, default=3000, help="steps of the whole schedule, over all runs"
    )
    parser.add_argument(
        "--resume", type=Path, default=Path("perceptual.ckpt"), help="checkpoint, made if missing"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("perceptual.safetensors"), help="weights file"
    )
    parser.add_argument(
        "--start", type=Path, help="weights file to go on from where there is no checkpoint"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("perceptual_cache"),
        help="folder of the labelled crops of --data",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that make the cache")
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        torch.manual_seed(0)
        data = (
            consensus_groups(find_images(args.data), args.cache, workers=args.workers)
            if args.data
            else read_bapps(args.bapps)
            if args.bapps
            else read_triplets(args.triplets)
        )
        metric = (
            (PerceptualMetric.load(args.start) if args.start else PerceptualMetric())
            .to(args.device)
            .requires_grad_(True)
        )
        result = train_metric(
            metric,
            data,
            TrainSettings(
                Cosine(args.steps), args.minutes, args.resume, 3e-4 if args.start else 1e-3, 0.998
            ),
        )
        write_atomically(args.out, finish(metric, result, data))
        print(f"{result.step} of {args.steps} steps done; {args.out}")
