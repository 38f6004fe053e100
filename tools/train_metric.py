#!/usr/bin/env python3
"""Train the perceptual metric, in as many runs as it takes.

Each run goes on from the checkpoint of the one before and writes the weights so far.

tools/train_metric.py --data photos more_photos --minutes 25 --out perceptual.safetensors
tools/train_metric.py --triplets judged.csv --start perceptual.safetensors --steps 500 \\
    --resume mine.ckpt --out mine.safetensors
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.training.metric.command import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
