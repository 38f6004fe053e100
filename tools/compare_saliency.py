#!/usr/bin/env python3
"""Bits and PSNR inside and outside salient objects, with saliency off and on, at equal total rate
(within 2 %).

python tools/compare_saliency.py --pairs saliency --maps held_out_maps --strength 12 24
"""

import argparse
from pathlib import Path

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs.salient import SalientCodec
from salcompress.evaluation.region_distortion import measure_regions, with_pooled_rate
from salcompress.files import digest
from salcompress.image import read_image
from salcompress.training.saliency.pairs import load_pairs

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True, help="folder of images/ and masks/")
    parser.add_argument(
        "--maps",
        type=Path,
        help="grey images of saliency named after the pairs, as train_saliency.py --maps writes "
        "them, "
        "in place of the shipped network, which was trained on ECSSD and has no held-out pairs "
        "there",
    )
    parser.add_argument("--limit", type=int, help="use only so many pairs, spread over all")
    parser.add_argument("--weights", type=Path, help="codec's weights file, if not the shipped one")
    parser.add_argument(
        "--quality",
        type=float,
        nargs="+",
        default=[0.2, 0.4, 0.6],
        help="of the codec without saliency, whose rate counts",
    )
    parser.add_argument(
        "--strength",
        type=float,
        nargs="+",
        default=[12, 24],
        help="saliency_strength of the codec with it",
    )
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        pairs = load_pairs(args.pairs)
        pairs = pairs[:: max(1, len(pairs) // (args.limit or len(pairs)))][: args.limit]
        images, masks = [pair.image for pair in pairs], [pair.mask for pair in pairs]
        maps = (
            {
                digest(p.image.tobytes()): read_image(args.maps / f"{p.name}.png")[:, :, 0] / 255
                for p in pairs
            }
            if args.maps
            else {}
        )
        saliency = (lambda image: maps[digest(image.tobytes())]) if args.maps else "network"
        print(
            "| base | saliency | bpp | bits inside | area inside | PSNR | inside | outside |\n| "
            "--- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for quality in args.quality:
            plain = SalientCodec(quality, saliency="uniform", weights=args.weights)
            rows = {"off": measure_regions(plain, images, masks)}
            for strength in args.strength:
                codec = SalientCodec(
                    quality, saliency=saliency, saliency_strength=strength, weights=args.weights
                )
                rows[f"strength {strength:g}"] = measure_regions(
                    with_pooled_rate(codec, images, rows["off"].bpp), images, masks
                )
            for name, r in rows.items():
                print(
                    f"| q={quality:g} | {name} | {r.bpp:.4f} | {r.bits_inside:.3f} | "
                    f"{r.area_inside:.3f} | {r.psnr:.2f} | "
                    f"{r.psnr_inside:.2f} | {r.psnr_outside:.2f} |",
                    flush=True,
                )
