"""Every constant of the .salc format, once. A change of any of them is another format.

:mod:`salcompress.bitstream.container` says where the bytes of a file lie, and
:mod:`salcompress.bitstream.entropy_coder` how symbols become words.
"""

MAGIC = b"SALC"
"""The first bytes of every file."""
VERSION = 2
HEADER_BYTES = 36
MAX_PIXELS = 2**26
"""Most pixels that an image has when it is padded to whole cells: work and memory go by that. They
are 67 megapixels, so whoever forges a header can cost no more.
"""

CELL = 64
"""Side in pixels of the squares that have a quality level each."""
NUM_LEVELS = 64
"""Quality levels, from 0 to 63."""

EDGE = 127
"""Largest symbol of the probability tables."""
MAX_SYMBOL = 3 * EDGE
"""Largest symbol that can be coded: what exceeds the tables is coded by the widest of them."""
NUM_TABLES = 64
PRECISION = 24
"""Frequencies of a table sum to 2 to this power."""
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 64.0
"""Standard deviations of the normal distributions that the first and the last table stand for; all
lie in equal ratios.
"""
MEAN_STEPS = 16
"""The prior's means are multiples of one over this. A symbol is a latent less its mean, rounded."""


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells of an image; the last ones may reach beyond its edge.

    >>> cells_of(480, 640)
    (8, 10)
    """
    return -(-height // CELL), -(-width // CELL)
