#!/usr/bin/env python3
"""PSNR, MS-SSIM and the learned perceptual distance of codecs on photographs, by real streams: as
measured, at equal rates, and as BD-rates of PSNR against some of them.

python tools/compare_codecs.py --photographs kodak
python tools/compare_codecs.py --photographs kodak --against jpeg --codec \\
    salient:saliency=uniform,q=0,0.05,0.1,0.2,0.3,0.5,0.7,1 --codec jpeg:q=5,10,20,40,70
"""

import argparse
from pathlib import Path

from salcompress.cli.main import errors_in_one_line
from salcompress.codecs import load_codecs
from salcompress.evaluation.rate_distortion import CURVES, measure_curve
from salcompress.image import read_image
from salcompress.reporting.rate_distortion_tables import (
    bd_rate_table,
    measured_table,
    table_at_rates,
)
from salcompress.training.photograph_files import find_images

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
        metavar="SPEC",
        help="a curve: a codec and several settings; may be repeated (default: all codecs at four "
        'or more qualities each, which needs the extra "codecs")',
    )
    parser.add_argument(
        "--bpp",
        type=float,
        nargs="+",
        default=[0.15, 0.3, 0.6],
        help="rates to compare at (default: 0.15 0.3 0.6)",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=["jpeg", "avif"],
        metavar="NAME",
        help="codecs that BD-rates are against, where they are measured (default: jpeg avif)",
    )
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        images = [read_image(path) for path in find_images(args.photographs)]
        codecs = {spec: load_codecs(spec) for spec in args.codec or CURVES.values()}
        curves = {
            spec: sorted(measure_curve(of_spec, images), key=lambda point: point.bpp)
            for spec, of_spec in codecs.items()
        }
        print(f"{len(images)} photographs\n\n{measured_table(curves)}")
        print("\nInterpolated over the logarithm of the rate between measured settings:\n")
        print(table_at_rates(curves, args.bpp))
        anchors = [spec for spec in curves if spec.partition(":")[0] in args.against]
        if anchors:
            print(f"\nBD-rate of PSNR:\n\n{bd_rate_table(curves, anchors)}")
