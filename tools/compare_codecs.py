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
from salcompress.evaluation.rate_distortion import RateDistortionPoint, measure_curve
from salcompress.image import read_image
from salcompress.reporting.tables import markdown_table, number
from salcompress.training.photograph_files import find_images


def figures_at(points: list[RateDistortionPoint], bpp: float) -> list[str]:
    """PSNR, MS-SSIM and perceptual distance of a curve, by rising rate, at one rate."""
    rates = np.log([point.bpp for point in points])
    if not rates[0] <= np.log(bpp) <= rates[-1]:
        return [f"out of reach, {points[0].bpp:.3f} to {points[-1].bpp:.3f}", "", ""]
    cells = []
    for name, digits in (("psnr", 2), ("ms_ssim", 4), ("perceptual", 4)):
        figures = [getattr(point, name) for point in points]
        known = [float("nan") if figure is None else figure for figure in figures]
        figure = float(np.interp(np.log(bpp), rates, known))
        cells.append(number(None if np.isnan(figure) else figure, digits))
    return cells


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
        lines = {bpp: [] for bpp in args.bpp}
        for spec in args.codec:
            points = sorted(measure_curve(load_codecs(spec), images), key=lambda point: point.bpp)
            for bpp in args.bpp:
                lines[bpp].append([f"{bpp:g}", spec[:80], *figures_at(points, bpp)])
        titles = ["bpp", "codec", "PSNR dB", "MS-SSIM", "perceptual"]
        print(markdown_table(titles, [line for rate in lines.values() for line in rate]))
