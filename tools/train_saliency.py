#!/usr/bin/env python3
"""Score SaliencyNet by folds (--folds 5), or train it on all pairs (--out FILE); each run goes on
from the checkpoints.

python tools/train_saliency.py --pairs saliency --backgrounds codec_train --coco coco_train_small \\
    --resume saliency.ckpt --folds 5
"""

import argparse
from pathlib import Path

import torch

from salcompress.cli.main import errors_in_one_line
from salcompress.training.saliency.train import (
    SaliencySchedule,
    load_data,
    score_by_folds,
    train_on_all,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True, help="folder of images/ and masks/")
    parser.add_argument(
        "--backgrounds",
        type=Path,
        nargs="*",
        default=[],
        help="photographs on which objects are pasted",
    )
    parser.add_argument(
        "--coco", type=Path, help="folder of images/ and instances.json, for pre-training"
    )
    parser.add_argument("--pretrain-steps", type=int, default=2400)
    parser.add_argument(
        "--steps", type=int, default=900, help="on the pairs, of each fold or of all"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        help="wall time of each part in this run; run again to go on",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("saliency.ckpt"),
        help="checkpoints, made if missing, are named after it",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--maps", type=Path, help="with --folds: folder for the held-out map of each pair"
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument(
        "--folds", type=int, help="train and score this many folds, and print the table"
    )
    task.add_argument(
        "--out", type=Path, help="train on all pairs and write this weights file (.safetensors)"
    )
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        data = load_data(args.pairs, args.coco, args.backgrounds)
        schedule = SaliencySchedule(
            args.pretrain_steps if args.coco else 0,
            args.steps,
            args.minutes,
            args.resume,
            args.device,
        )
        print(
            score_by_folds(data, schedule, args.folds, args.maps)
            if args.folds
            else train_on_all(data, schedule, args.out)
        )
