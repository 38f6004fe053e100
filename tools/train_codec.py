#!/usr/bin/env python3
"""Train the codec, in as many runs as it takes: each goes on from the checkpoint and writes the weights so far.

    python tools/train_codec.py --data photos more_photos --config base --minutes 60 --resume codec.ckpt --out codec.safetensors
"""
import argparse
from pathlib import Path

import torch

from salcompress.cli import errors_in_one_line
from salcompress.image import read_image
from salcompress.models.compression_model import CONFIGS, CompressionModel, load_model
from salcompress.saliency import network_saliency
from salcompress.training.codec import shipped_perceptual, train_codec, validate, write_weights
from salcompress.training.datasets import find_images, load_images
from salcompress.training.trainer import TrainSettings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photographs")
    parser.add_argument("--config", choices=CONFIGS, default="base")
    parser.add_argument("--minutes", type=float, default=10, help="wall time of this run")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the whole schedule, over all runs")
    parser.add_argument("--resume", type=Path, default=Path("codec.ckpt"), help="checkpoint, made if missing")
    parser.add_argument("--out", type=Path, default=Path("codec.safetensors"), help="weights file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, help="weights file to go on from where there is no checkpoint; its config counts")
    parser.add_argument("--validate", type=Path, nargs="*", default=[], help="held-out images and folders, for rates by real bytes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--large-crop", type=int, default=256)
    parser.add_argument("--saliency-weight", type=float, default=0.0, help="errors at the most salient places count 1 + this as much as elsewhere")
    parser.add_argument("--perceptual-weight", type=float, default=0.0, help="squared 8-bit error that a perceptual distance of 1 counts as")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        torch.manual_seed(0)  # of the start; each step seeds itself
        model = (load_model(args.start)[0] if args.start else CompressionModel(CONFIGS[args.config])).to(args.device)
        images = load_images(find_images(args.data), args.device, args.crop, network_saliency if args.saliency_weight else None)
        settings = TrainSettings(args.steps, args.minutes, args.resume, args.learning_rate, average_decay=0.999, weight_decay=0.0,
                                 gradient_norm=1.0, save_every=500, log_every=100)
        result = train_codec(model, images, settings, batch_size=args.batch, crop=args.crop, large_crop=args.large_crop,
                             klt_start=args.start is None, saliency_weight=args.saliency_weight,
                             perceptual=shipped_perceptual(args.perceptual_weight, args.device) if args.perceptual_weight else None)
        print(f"{result.step} of {args.steps} steps done; {len(images)} images; {write_weights(model, result, args.out)}")
        for point in validate(args.out, [read_image(path) for path in find_images(args.validate)], args.device) if args.validate else ():
            print(f"{point.label}: {point.bpp:.4f} bpp, {point.psnr:.2f} dB, perceptual {point.perceptual:.4f}")
