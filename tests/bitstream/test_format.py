"""The format's constants stand in one place, and what is made of them agrees."""

import ast
import math
from pathlib import Path

import numpy as np

import salcompress
from salcompress.bitstream import format as salc
from salcompress.bitstream.container import Header, write_stream
from salcompress.bitstream.entropy_coder import TABLES

CONSTANTS = {name for name in vars(salc) if name.isupper()}


def assigned(source: str) -> set[str]:
    """Names that a module gives a value at its top level."""
    targets = [
        target
        for node in ast.parse(source).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return {node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)}


def test_each_constant_has_one_place():
    package = Path(salcompress.__file__).parent
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0]
        if room in ("bitstream", "models", "saliency", "codecs") and path.name != "format.py":
            again = {name for name in assigned(path.read_text()) if name.strip("_") in CONSTANTS}
            assert not again, f"{path} has {again} of its own"


def test_what_is_made_of_them_agrees():
    assert TABLES.shape == (salc.NUM_TABLES, 2 * salc.EDGE + 1)
    assert (TABLES.sum(1, dtype=np.int64) == 2**salc.PRECISION).all() and TABLES.min() >= 1
    header = write_stream(Header(1, 1, 0, None, b"abcd", 0, 0, 0), b"")
    assert len(header) == salc.HEADER_BYTES and header.startswith(salc.MAGIC)


def test_tables_have_the_standard_deviations_that_the_format_says():
    """By the share of the symbol 0, which a normal distribution gives to [-1/2, 1/2]."""
    scales = np.geomspace(salc.SMALLEST_SCALE, salc.LARGEST_SCALE, salc.NUM_TABLES)
    for row, scale in zip(TABLES, scales):
        inside, everywhere = (math.erf(x / (scale * 2**0.5)) for x in (0.5, salc.EDGE + 0.5))
        # every symbol has a frequency of at least 1, and frequencies are whole numbers
        assert abs(row[salc.EDGE] / 2**salc.PRECISION - inside / everywhere) < 2e-5
