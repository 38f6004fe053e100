#!/usr/bin/env python3
"""Write the integer probability tables of the .salc format. The file that it wrote once,
salcompress/bitstream/entropy_tables.npy, is part of the format.

python tools/make_entropy_tables.py tables.npy
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from salcompress.bitstream.format import (
    EDGE,
    LARGEST_SCALE,
    NUM_TABLES,
    PRECISION,
    SMALLEST_SCALE,
)


def make_tables() -> np.ndarray:
    """Frequencies int32 (64, 255), at least 1 each, symmetric but for the rounding that symbol 0
    takes up.
    """
    scales = np.geomspace(SMALLEST_SCALE, LARGEST_SCALE, NUM_TABLES)[:, None]
    edges = np.arange(-EDGE, EDGE + 2) - 0.5
    mass = np.diff(ndtr(edges / scales), axis=1)
    spare = 2**PRECISION - mass.shape[1]
    tables = 1 + np.floor(mass / mass.sum(1, keepdims=True) * spare).astype(np.int64)
    tables[:, EDGE] += 2**PRECISION - tables.sum(1)
    return tables.astype(np.int32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="FILE.npy", help="where the tables are written")
    np.save(parser.parse_args().out, make_tables())
