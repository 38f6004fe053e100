"""The command that trains and scores SaliencyNet: its options, and what it does."""

import argparse
from pathlib import Path

import torch

from salcompress.training.saliency.folds import score_by_folds
from salcompress.training.saliency.train import SaliencySchedule, load_data, train_on_all


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to a parser."""
    _add_data_options(parser)
    _add_schedule_options(parser)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument(
        "--folds", type=int, help="train and score this many folds, and print the table"
    )
    task.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="train on all pairs and write this weights file (.safetensors)",
    )


def run(args: argparse.Namespace) -> None:
    """Train, and print the table of the folds or write the weights.

    Args:
        args: Values of the options.

    Raises:
        SettingError, DataError, OutputError: See
            :func:`~salcompress.training.saliency.train.train_saliency`.
    """
    data = load_data(args.pairs, args.coco, args.backgrounds)
    schedule = SaliencySchedule(
        args.pretrain_steps if args.coco else 0,
        args.steps,
        args.minutes,
        args.resume,
        args.device,
    )
    if args.folds is not None:
        print(score_by_folds(data, schedule, args.folds, args.maps))
    else:
        print(train_on_all(data, schedule, args.out))


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pairs",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of images/ and masks/; an image and its mask have one name",
    )
    parser.add_argument(
        "--backgrounds",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="photographs, and folders of them, on which objects are pasted",
    )
    parser.add_argument(
        "--coco",
        type=Path,
        metavar="FOLDER",
        help="folder of images/ and instances.json, for pre-training",
    )


def _add_schedule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pretrain-steps", type=int, default=2400, metavar="STEPS", help="default: 2400"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=900,
        help="steps on the pairs, of each fold or of all (default: 900)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        help="wall time of each part in this run; run again to go on (default: 60)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("saliency.ckpt"),
        metavar="FILE",
        help="checkpoints are named after this file, and made if they are missing "
        "(default: saliency.ckpt)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="FOLDER",
        help="with --folds: folder for the held-out map of each pair",
    )
