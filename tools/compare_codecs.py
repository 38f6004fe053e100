#!/usr/bin/env python3
"""PSNR, MS-SSIM and the learned perceptual distance of codecs on photographs at equal rates, by
real streams.

python tools/compare_codecs.py --photographs kodak --codec \\
    salient:saliency=uniform,q=0,0.05,0.1,0.2,0.3,0.5,0.7,1 --codec jpeg:q=5,10,20,40,70
"""

import argparse
from pathlib import Path

import numpy as np

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs import load_codecs
from salcompress.evaluation.rate_distortion import measure_curve
from salcompress.image import read_image
from salcompress.training.photographs import find_images

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, nargs="+", required=True, help="images, and folders of images"
    )
    parser.add_argument(
        "--codec",
        action="append",
        required=True,
        metavar="SPEC",
        help="a curve: a codec and several settings; may be repeated",
    )
    parser.add_argument(
        "--bpp", type=float, nargs="+", default=[0.15, 0.3, 0.6], help="rates to compare at"
    )
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        images = [read_image(path) for path in find_images(args.photographs)]
        print(
            f"{len(images)} photographs; figures are interpolated over the logarithm of the rate "
            "between measured settings\n"
        )
        print("| bpp | codec | PSNR dB | MS-SSIM | perceptual |\n| --- | --- | --- | --- | --- |")
        rows = {bpp: [] for bpp in args.bpp}
        for spec in args.codec:
            points = sorted(measure_curve(load_codecs(spec), images), key=lambda point: point.bpp)
            rates = np.log([point.bpp for point in points])
            for bpp in args.bpp:
                inside = rates[0] <= np.log(bpp) <= rates[-1]
                psnr, ms_ssim, perceptual = (
                    np.interp(
                        np.log(bpp), rates, [float(getattr(p, name) or "nan") for p in points]
                    )
                    for name in ("psnr", "ms_ssim", "perceptual")
                )
                figures = (
                    f"{psnr:.2f} | {ms_ssim:.4f} | {perceptual:.4f}"
                    if inside
                    else f"out of reach, {points[0].bpp:.3f} to {points[-1].bpp:.3f} | | "
                )
                rows[bpp].append(f"| {bpp:g} | {spec.replace('|', '/')[:80]} | {figures} |")
        print("\n".join(line for lines in rows.values() for line in lines))
