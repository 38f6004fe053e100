#!/usr/bin/env python3
"""Bits and PSNR inside and outside salient objects, with saliency off and on, at equal total rate
(within 2 %).

tools/compare_saliency.py --pairs saliency --maps held_out_maps --strength 12 24
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.training.saliency.steering import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
