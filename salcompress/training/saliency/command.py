"""The command that trains and scores SaliencyNet: its options, and what it does."""

import argparse
from pathlib import Path

from salcompress.codecs.salient.networks import default_device
from salcompress.training.saliency.folds import score_by_folds
from salcompress.training.saliency.start import backbone_weights
from salcompress.training.saliency.train import SaliencySchedule, load_data, train_on_all
from salcompress.training.settings import check_device


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
    check_device(args.device)
    backbone = backbone_weights(args.backbone) if args.backbone else None
    data = load_data(args.pairs, args.pretrain, backbone)
    schedule = SaliencySchedule(
        args.pretrain_steps if args.pretrain else 0,
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
        "--pretrain",
        type=Path,
        metavar="FOLDER",
        help="folder like that of --pairs with many pairs, for pre-training; each tenth in the "
        "order of names is held out",
    )
    parser.add_argument(
        "--backbone",
        type=Path,
        metavar="FILE",
        help="safetensors file of a detector of which YOLOX-nano's backbone is a part; training "
        "starts from it, and from random weights without it",
    )


def _add_schedule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pretrain-steps", type=int, default=6000, metavar="STEPS", help="default: 6000"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=200,
        help="steps on the pairs, of each fold or of all (default: 200)",
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
    parser.add_argument(
        "--device",
        default=default_device(),
        help="cpu, cuda, ... (default: cuda where there is one)",
    )
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="FOLDER",
        help="with --folds: folder for the held-out map of each pair",
    )
