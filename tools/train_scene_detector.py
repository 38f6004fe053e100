#!/usr/bin/env python3
"""Train the demo's Mask R-CNN on synthetic scenes, and write its weights in half precision.

Each run goes on from the checkpoint of the one before.

tools/train_scene_detector.py --minutes 60 --out salcompress/weights/scene_detector.safetensors
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.training.scene_detector import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
