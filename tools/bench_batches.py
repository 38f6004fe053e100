#!/usr/bin/env python3
"""Images a second that the learned codec takes in batches of tensors, on drawn scenes of COCO's
sizes: with CUDA graphs and without, one padded batch or one for each padded size, bits counted or
streams written and read. Then how many operations a batch takes.

tools/bench_batches.py --device cuda --batches 1 4 16
"""

import argparse

from salcompress.bench.batches import add_options, run
from salcompress.cli.main import errors_in_one_line

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
