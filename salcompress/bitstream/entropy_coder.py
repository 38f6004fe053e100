"""Integer probability tables, and the range coder that writes symbols with them. Integers and bytes
only.

Symbols lie in [-381, 381]. Each is coded with one of 64 tables over [-127, 127]: zero-mean normal
distributions of standard deviations from 0.11 to 64 in equal ratios, quantised to integers that sum
to 2^24. The tables are shipped as integers and are part of the format; no machine ever computes
them again. A symbol beyond the tables is coded as +-127, and what it exceeds that by, 0 .. 254,
follows its group: for each +-127 of the group in order, less 127, with the widest table. (Pure
black and white at high quality need it.) Inside a group symbols are sorted by table (stable),
groups follow each other, and all are pushed in reverse onto one ANS stack (Duda 2009; the coder is
that of `constriction`), so that they pop in order.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import constriction
import numpy as np

from salcompress.bitstream.format import EDGE, NUM_TABLES, PRECISION
from salcompress.errors import CodecUnavailableError, CorruptError

TABLES: np.ndarray = np.load(Path(__file__).with_name("entropy_tables.npy"))
"""Frequencies, int32 (64, 255); entry [k, s + 127] is that of symbol s under table k."""
_WIDEST = NUM_TABLES - 1
TABLE_BITS: np.ndarray = PRECISION - np.log2(TABLES.astype(np.float64))
"""Ideal length of each symbol in bits, float64 (64, 255)."""

# constriction rounds probabilities to integers of its own; weights of (frequency - 1) that sum to
# just under its total come out as exactly these frequencies, as the pure-Python coder in the tests
# confirms.
_MODELS = [
    constriction.stream.model.Categorical((row - 1).astype(np.float64), perfect=False)
    for row in TABLES
]


def encode_groups(groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Code groups of symbols.

    Args:
        groups: Of each, symbols int32 (n,) in [-381, 381] and their tables uint8 (n,) in [0, 63].

    Returns:
        Little-endian 32-bit words.
    """
    coder = constriction.stream.stack.AnsCoder()
    for symbols, tables in reversed(groups):
        excess = np.abs(symbols[np.abs(symbols) >= EDGE]) - EDGE
        if len(excess):
            coder.encode_reverse(excess.astype(np.int32), _MODELS[_WIDEST])
        order = np.argsort(tables, kind="stable")
        shifted = (symbols[order].clip(-EDGE, EDGE) + EDGE).astype(np.int32)
        ends = np.cumsum(np.bincount(tables, minlength=NUM_TABLES))
        for table in range(NUM_TABLES - 1, -1, -1):
            start, end = (ends[table - 1] if table else 0), ends[table]
            if end > start:
                coder.encode_reverse(shifted[start:end], _MODELS[table])
    return coder.get_compressed().astype("<u4").tobytes()


def count_bits(symbols: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Ideal length of each symbol in bits under its table, float64; the coder's words are longer by
    under 0.1 % + 64 bits.
    """
    bits = TABLE_BITS[tables, symbols.clip(-EDGE, EDGE).astype(np.int64) + EDGE]
    at_edge = np.abs(symbols) >= EDGE
    bits[at_edge] += TABLE_BITS[_WIDEST, np.abs(symbols[at_edge]).astype(np.int64) - EDGE]
    return bits


def _check_coder() -> None:
    """Another version of the coder's library may round tables to other integers: better to know
    before a stream is written.
    """
    symbols, tables = (
        np.array([0, 1, -1, 5, -127, 381, 0], np.int32),
        np.array([0, 10, 10, 30, 63, 63, 0], np.uint8),
    )
    if encode_groups([(symbols, tables)]).hex() != "f27ffd8c3dd8478b1e000000":
        raise CodecUnavailableError(
            f"constriction {metadata.version('constriction')} does not code the tables of the "
            ".salc format as they are; "
            "pip install 'constriction>=0.5,<0.6'"
        )


_check_coder()


class GroupDecoder:
    """Reads groups of symbols in the order in which they were given to :func:`encode_groups`.

    Raises:
        CorruptError: The bytes cannot be a coder's words.
    """

    def __init__(self, payload: bytes):
        if len(payload) % 4:
            raise CorruptError("the coded symbols are not whole 32-bit words")
        try:
            self._coder = constriction.stream.stack.AnsCoder(
                np.frombuffer(payload, "<u4").astype(np.uint32)
            )
        except ValueError as error:
            raise CorruptError(f"the coded symbols are damaged: {error}") from error

    def decode(self, tables: np.ndarray) -> np.ndarray:
        """Symbols, int32 (n,), of the next group.

        Args:
            tables: uint8 (n,) in [0, 63].

        Raises:
            CorruptError: The words ran out in a way that no whole stream does.
        """
        order = np.argsort(tables, kind="stable")
        counts = np.bincount(tables, minlength=NUM_TABLES)
        parts = [self._pop(int(table), int(counts[table])) for table in np.flatnonzero(counts)]
        symbols = np.empty(len(tables), np.int32)
        symbols[order] = (np.concatenate(parts) if parts else np.empty(0, np.int32)) - EDGE
        at_edge = np.flatnonzero(np.abs(symbols) == EDGE)
        if len(at_edge):
            symbols[at_edge] += np.sign(symbols[at_edge]) * self._pop(_WIDEST, len(at_edge))
        return symbols

    def _pop(self, table: int, count: int) -> np.ndarray:
        try:
            return self._coder.decode(_MODELS[table], int(count))
        except (AssertionError, ValueError) as error:
            raise CorruptError(f"the coded symbols are damaged: {error}") from error

    def is_empty(self) -> bool:
        """Whether every word has been used up, as after the last symbol of a whole stream."""
        return bool(self._coder.is_empty())
