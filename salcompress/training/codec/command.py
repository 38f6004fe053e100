"""The command that trains the codec: its options, and what it does."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from salcompress.codecs.salient.networks import default_device
from salcompress.image import read_image
from salcompress.models.compression_model import CONFIGS
from salcompress.saliency.functions import network_saliency
from salcompress.training.codec.outcome import validate, write_weights
from salcompress.training.codec.recipe import Recipe
from salcompress.training.codec.start import starting_model
from salcompress.training.codec.train import train_codec
from salcompress.training.losses import shipped_perceptual
from salcompress.training.photograph_files import find_images, load_photographs, without
from salcompress.training.photographs import Photographs
from salcompress.training.schedule import Stable
from salcompress.training.settings import ALLOW_CHANGES, TrainSettings, check_device


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to a parser."""
    _add_data_options(parser)
    _add_run_options(parser)
    _add_recipe_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train, write the weights, and code the held-out photographs.

    Args:
        args: Values of the options.

    Raises:
        SettingError, DataError, OutputError: See :func:`~salcompress.training.codec.train_codec`.
    """
    check_device(args.device)
    if args.device.startswith("cuda"):
        # matrix products of the prior's training, whose factors have at most 11 bits
        torch.set_float32_matmul_precision("high")
    recipe = _recipe_of(args)
    settings = _settings_of(args)
    finishes = args.decay_minutes is not None
    out = args.out or Path("codec.safetensors" if finishes else "so_far.safetensors")
    pictures = load_photographs(
        without(find_images(args.data), args.leave_out),
        args.crop,
        saliency=network_saliency if args.saliency_weight else None,
    )
    model = starting_model(CONFIGS.get(args.config), args.start, pictures).to(args.device)
    photographs = Photographs(pictures, args.device)
    del pictures
    compiles = None if args.compile else False
    result = train_codec(model, photographs, settings, recipe, compiles=compiles)
    written = write_weights(model, result, out)
    print(
        f"step {result.step}{', finished' if result.is_over else ''}; "
        f"{photographs.num_pictures} photographs; {written}"
    )
    if result.is_over:
        # the state of the decay is of no use any more, now that its weights are kept
        settings.checkpoint.unlink(missing_ok=True)
    if args.validate:
        held_out = [read_image(path) for path in find_images(args.validate)]
        _print_validation(out, held_out, args.device)


def _recipe_of(args: argparse.Namespace) -> Recipe:
    perceptual = (
        shipped_perceptual(args.perceptual_weight, args.device) if args.perceptual_weight else None
    )
    return Recipe(
        args.batch,
        args.crop,
        args.large_crop,
        args.large_every,
        args.saliency_weight,
        perceptual,
    )


def _settings_of(args: argparse.Namespace) -> TrainSettings:
    settings = TrainSettings(
        Stable(),
        args.minutes,
        args.resume,
        args.learning_rate,
        average_decay=0.999,
        weight_decay=0.0,
        gradient_norm=1.0,
        save_every=args.save_every,
        log_every=100,
        allow_changes=args.allow_changes,
    )
    return settings if args.decay_minutes is None else settings.to_finish(args.decay_minutes)


def _print_validation(weights: Path, images: Sequence[np.ndarray], device: str) -> None:
    for point in validate(weights, images, device):
        print(
            f"{point.label}: {point.bpp:.4f} bpp, {point.psnr:.2f} dB, perceptual "
            f"{point.perceptual:.4f}"
        )


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("photographs")
    group.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders of photographs, and single photographs",
    )
    group.add_argument(
        "--leave-out",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="photographs of --data, and folders of them, that are held out",
    )
    group.add_argument(
        "--validate",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="held-out photographs; they are coded to real streams at the end",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--config",
        choices=CONFIGS,
        help="sizes of the networks; with --start they grow into a larger config, which must have "
        "as many latent channels",
    )
    group.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights file to begin with where there is no state yet",
    )
    group.add_argument(
        "--resume",
        type=Path,
        default=Path("codec.state"),
        metavar="FILE",
        help="state of the stable phase; it is made if it is missing (default: codec.state)",
    )
    group.add_argument("--allow-changes", action="store_true", help=ALLOW_CHANGES)
    group.add_argument(
        "--minutes",
        type=float,
        default=10,
        help="time of training in this run; the next run goes on. Reading the photographs is not "
        "counted (default: 10)",
    )
    group.add_argument(
        "--decay-minutes",
        type=float,
        metavar="MINUTES",
        help="finish weights in so many minutes; the state of the stable phase is not touched",
    )
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="weights file (default: codec.safetensors for finished weights, so_far.safetensors "
        "for the average so far)",
    )
    group.add_argument(
        "--save-every",
        type=int,
        default=500,
        metavar="STEPS",
        help="steps between saves; there are never more than two minutes between them "
        "(default: 500)",
    )
    group.add_argument(
        "--no-compile",
        dest="compile",
        action="store_false",
        help="on CUDA, do not compile the networks: for runs of a few minutes",
    )
    group.add_argument(
        "--device",
        default=default_device(),
        help="cpu, cuda, ... (default: cuda where there is one)",
    )


def _add_recipe_options(parser: argparse.ArgumentParser) -> None:
    usual = Recipe()
    group = parser.add_argument_group("recipe")
    group.add_argument("--learning-rate", type=float, default=1e-3, help="default: 0.001")
    group.add_argument(
        "--batch",
        type=int,
        default=usual.batch_size,
        help="small crops in a step (default: %(default)s)",
    )
    group.add_argument(
        "--crop",
        type=int,
        default=usual.crop,
        metavar="PIXELS",
        help="side of the small crops (default: %(default)s)",
    )
    group.add_argument(
        "--large-crop",
        type=int,
        default=usual.large_crop,
        metavar="PIXELS",
        help="side of the large crops, which the decay has (default: %(default)s)",
    )
    group.add_argument(
        "--large-every",
        type=int,
        default=usual.large_every,
        metavar="STEPS",
        help="each so many-th step before the decay has large crops; 0: none (default: 0)",
    )
    group.add_argument(
        "--saliency-weight",
        type=float,
        default=0,
        metavar="WEIGHT",
        help="errors at the most salient places count 1 + WEIGHT as much; a decay may have another "
        "weight than its stable phase (default: 0)",
    )
    group.add_argument(
        "--perceptual-weight",
        type=float,
        default=0,
        metavar="WEIGHT",
        help="squared 8-bit error that a perceptual distance of 1 counts as; likewise (default: 0)",
    )
