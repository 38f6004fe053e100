#!/usr/bin/env python3
"""Train the codec, in as many runs as it takes, and finish it; tools/README.md tells how.

tools/train_codec.py --data photos --config base --minutes 60                      # again, to go on
tools/train_codec.py --data photos --config base --decay-minutes 10 --out codec.safetensors
"""

import argparse
from pathlib import Path

import torch

from salcompress.cli.main import errors_in_one_line
from salcompress.image import read_image
from salcompress.models.compression_model import CONFIGS
from salcompress.saliency.functions import network_saliency
from salcompress.training.codec import Recipe, starting_model, train_codec, validate, write_weights
from salcompress.training.loop import TrainSettings
from salcompress.training.losses import shipped_perceptual
from salcompress.training.photographs import Photographs, find_images, load_photographs, without
from salcompress.training.schedule import Stable

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="folders of photographs, and single ones",
    )
    parser.add_argument(
        "--leave-out",
        type=Path,
        nargs="*",
        default=[],
        help="photographs, and folders of them, that are held out of --data",
    )
    parser.add_argument(
        "--config",
        choices=CONFIGS,
        help="of the networks; with --start a larger one of as many latent channels, into which "
        "they grow",
    )
    parser.add_argument(
        "--start", type=Path, help="weights file to begin with where there is no state yet"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("codec.state"),
        help="state of the stable phase, made if missing",
    )
    parser.add_argument(
        "--minutes", type=float, default=10, help="wall time of this run; the next one goes on"
    )
    parser.add_argument(
        "--decay-minutes",
        type=float,
        help="finish weights from the state, without touching it, in so many minutes",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="weights file: finished, or averaged so far (default: codec.safetensors, "
        "so_far.safetensors)",
    )
    parser.add_argument(
        "--validate",
        type=Path,
        nargs="*",
        default=[],
        help="held-out photographs, for rates by real streams",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=Recipe().batch_size, help="small crops a step")
    parser.add_argument("--crop", type=int, default=Recipe().crop, help="their side in pixels")
    parser.add_argument(
        "--large-crop",
        type=int,
        default=Recipe().large_crop,
        help="side of the large crops, of the decay",
    )
    parser.add_argument(
        "--large-every",
        type=int,
        default=Recipe().large_every,
        help="each so many-th step before has them, too",
    )
    parser.add_argument(
        "--saliency-weight",
        type=float,
        default=0,
        help="errors at the most salient places count 1 + this as much",
    )
    parser.add_argument(
        "--perceptual-weight",
        type=float,
        default=0,
        help="squared 8-bit error that a perceptual distance of 1 counts as",
    )
    parser.add_argument(
        "--save-every",
        type=int,
        default=500,
        help="steps, and two minutes at the most (default: 500)",
    )
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        recipe = Recipe(
            args.batch,
            args.crop,
            args.large_crop,
            args.large_every,
            args.saliency_weight,
            shipped_perceptual(args.perceptual_weight, args.device)
            if args.perceptual_weight
            else None,
        )
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
        )
        settings = (
            settings if args.decay_minutes is None else settings.to_finish(args.decay_minutes)
        )
        out = args.out or Path(
            "so_far.safetensors" if args.decay_minutes is None else "codec.safetensors"
        )
        pictures = load_photographs(
            without(find_images(args.data), args.leave_out),
            args.crop,
            saliency=network_saliency if args.saliency_weight else None,
        )
        model = starting_model(CONFIGS.get(args.config), args.start, pictures).to(args.device)
        photographs = Photographs(pictures, args.device)
        del pictures
        result = train_codec(model, photographs, settings, recipe)
        written = write_weights(model, result, out)
        print(
            f"step {result.step}{', finished' if result.is_over else ''}; "
            f"{photographs.num_pictures} photographs; {written}"
        )
        if result.is_over:
            settings.checkpoint.unlink(
                missing_ok=True
            )  # of the decay, now that its weights are kept
        for point in (
            validate(out, [read_image(path) for path in find_images(args.validate)], args.device)
            if args.validate
            else ()
        ):
            print(
                f"{point.label}: {point.bpp:.4f} bpp, {point.psnr:.2f} dB, perceptual "
                f"{point.perceptual:.4f}"
            )
