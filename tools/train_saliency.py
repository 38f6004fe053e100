#!/usr/bin/env python3
"""Score SaliencyNet by folds (--folds 5), or train it on all pairs (--out FILE).

Each run goes on from the checkpoints of the one before.

tools/train_saliency.py --pairs saliency --pretrain saliency_duts \\
    --backbone mask_rcnn_nano.safetensors --resume saliency.ckpt --folds 5
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.training.saliency.command import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
