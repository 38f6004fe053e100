#!/usr/bin/env python3
"""Train the codec, in as many runs as it takes, and finish it; tools/README.md tells how.

tools/train_codec.py --data photos --config base --minutes 60                      # again, to go on
tools/train_codec.py --data photos --config base --decay-minutes 10 --out codec.safetensors
"""

import argparse

from salcompress.cli.main import errors_in_one_line
from salcompress.training.codec.command import add_options, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    args = parser.parse_args()
    with errors_in_one_line(parser.prog):
        run(args)
