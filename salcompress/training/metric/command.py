"""The command that trains the perceptual metric: its options, and what it does."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from salcompress.codecs.salient.networks import default_device
from salcompress.files import write_atomically
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.training.metric.groups import Groups, consensus_groups
from salcompress.training.metric.judgements import Triplet, read_bapps, read_triplets
from salcompress.training.metric.outcome import finish
from salcompress.training.metric.train import train_metric
from salcompress.training.photograph_files import find_images
from salcompress.training.schedule import Cosine
from salcompress.training.settings import ALLOW_CHANGES, TrainSettings, check_device


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to a parser."""
    _add_label_options(parser)
    _add_run_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train, and write the weights so far.

    Args:
        args: Values of the options.

    Raises:
        SettingError, DataError, OutputError: See
            :func:`~salcompress.training.metric.train.train_metric`.
    """
    check_device(args.device)
    torch.manual_seed(0)
    source = _source_of(args)
    metric = PerceptualMetric.load(args.start) if args.start else PerceptualMetric()
    metric = metric.to(args.device).requires_grad_(True)
    settings = TrainSettings(
        Cosine(args.steps),
        args.minutes,
        args.resume,
        learning_rate=3e-4 if args.start else 1e-3,
        average_decay=0.998,
        allow_changes=args.allow_changes,
    )
    result = train_metric(metric, source, settings)
    write_atomically(args.out, finish(metric, result, source))
    print(f"{result.step} of {args.steps} steps done; {args.out}")


def _source_of(args: argparse.Namespace) -> Groups | Sequence[Triplet]:
    if args.data:
        return consensus_groups(find_images(args.data), args.cache, workers=args.workers)
    return read_bapps(args.bapps) if args.bapps else read_triplets(args.triplets)


def _add_label_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="photographs; labels are certain orders and the agreement of published metrics",
    )
    source.add_argument(
        "--bapps",
        type=Path,
        metavar="FOLDER",
        help="human judgements in the layout of BAPPS: ref, p0, p1, judge",
    )
    source.add_argument(
        "--triplets",
        type=Path,
        metavar="FILE",
        help="human judgements, a CSV file of reference,a,b,fraction; the fraction is the share of "
        "the judges who find a closer",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("perceptual_cache"),
        metavar="FOLDER",
        help="folder of the labelled crops of --data (default: perceptual_cache)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that make the cache (default: 1)"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minutes",
        type=float,
        default=25,
        help="wall time of this run; the making of --cache is not counted (default: 25)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=3000,
        help="steps of the whole schedule, over all runs (default: 3000)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("perceptual.ckpt"),
        metavar="FILE",
        help="checkpoint; it is made if it is missing (default: perceptual.ckpt)",
    )
    parser.add_argument("--allow-changes", action="store_true", help=ALLOW_CHANGES)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("perceptual.safetensors"),
        metavar="FILE",
        help="weights file (default: perceptual.safetensors)",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights file to begin with where there is no checkpoint",
    )
    parser.add_argument(
        "--device",
        default=default_device(),
        help="cpu, cuda, ... (default: cuda where there is one)",
    )
