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

import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import constriction
import numpy as np

from salcompress.bitstream.format import (
    EDGE,
    LARGEST_SCALE,
    NUM_TABLES,
    PRECISION,
    SMALLEST_SCALE,
)
from salcompress.errors import CodecUnavailableError, CorruptError

TABLES: np.ndarray = np.load(Path(__file__).with_name("entropy_tables.npy"))
"""Frequencies, int32 (64, 255); entry [k, s + 127] is that of symbol s under table k."""
_WIDEST = NUM_TABLES - 1
TABLE_BITS: np.ndarray = PRECISION - np.log2(TABLES.astype(np.float64))
"""Ideal length of each symbol in bits, float64 (64, 255)."""


def _model(frequencies: np.ndarray) -> constriction.stream.model.Categorical:
    # constriction rounds probabilities to integers of its own; weights of (frequency - 1) that sum
    # to just under its total come out as exactly these frequencies, as the pure-Python coder in the
    # tests confirms.
    return constriction.stream.model.Categorical(
        (frequencies - 1).astype(np.float64), perfect=False
    )


_MODELS = [_model(row) for row in TABLES]

_NARROW_EDGES = [
    max(2, math.ceil(5.5 * scale)) + 1
    for scale in np.geomspace(SMALLEST_SCALE, LARGEST_SCALE, NUM_TABLES)
    if scale < 1.5  # of wider ones, narrow models are hardly quicker
]
_NARROW_MODELS = [
    _model(
        np.concatenate(
            [
                [row[: EDGE + 1 - edge].sum()],
                row[EDGE + 1 - edge : EDGE + edge],
                [row[EDGE + edge :].sum()],
            ]
        )
    )
    for row, edge in zip(TABLES, _NARROW_EDGES)
]
"""The narrowest tables, where all that lies beyond 5.5 standard deviations is one symbol on either
side, plus and minus the edge. The decoder finds a symbol in them in half the time that it takes in
the whole table, of which all symbols between the edges have the very intervals.
"""
_FEWEST_NARROW = 256
"""Fewer symbols take longer to check than the narrow model saves."""


def _by_table(tables: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, list[int]]:
    """Order in which symbols are coded, which is by table and stable.

    Returns:
        Which symbols have the first table, bool (n,), where it has most of them, so that they need
        no sorting; else None, and they are among the others. Then the order of the others, and how
        many of these each table has.
    """
    is_first = tables == 0
    if 2 * np.count_nonzero(is_first) < len(tables):
        is_first = None
        order = np.argsort(tables, kind="stable")
    else:
        others = np.flatnonzero(~is_first)
        order = others[np.argsort(tables[others], kind="stable")]
    ends = np.searchsorted(tables[order], np.arange(NUM_TABLES, dtype=np.uint8), "right")
    return is_first, order, np.diff(ends, prepend=0).tolist()


def encode_groups(groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Code groups of symbols.

    Args:
        groups: Of each, symbols, signed integers (n,) in [-381, 381], and their tables uint8 (n,)
            in [0, 63].

    Returns:
        Little-endian 32-bit words.
    """
    coder = constriction.stream.stack.AnsCoder()
    for symbols, tables in reversed(groups):
        if _reaches_edge(symbols):
            excess = np.abs(symbols[np.abs(symbols) >= EDGE]) - EDGE
            coder.encode_reverse(excess.astype(np.int32), _MODELS[_WIDEST])
            symbols = symbols.clip(-EDGE, EDGE)
        is_first, order, counts = _by_table(tables)
        shifted = np.add(symbols[order], EDGE, dtype=np.int32)
        end = len(shifted)
        for table in range(NUM_TABLES - 1, -1, -1):
            if counts[table]:
                start = end - counts[table]
                coder.encode_reverse(shifted[start:end], _MODELS[table])
                end = start
        if is_first is not None and len(tables):
            first = np.add(symbols[is_first], EDGE, dtype=np.int32)
            coder.encode_reverse(first, _MODELS[0])
    return coder.get_compressed().astype("<u4").tobytes()


def _reaches_edge(symbols: np.ndarray) -> bool:
    return len(symbols) > 0 and bool(symbols.max() >= EDGE or symbols.min() <= -EDGE)


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
        self._words = np.frombuffer(payload, "<u4").astype(np.uint32)
        # Symbols that narrow models popped, less what they cost in vain. Where images are unlike
        # those from which the prior learned, it is soon below zero, and they are not tried again.
        self._narrow_balance = 16 * _FEWEST_NARROW
        try:
            self._coder = constriction.stream.stack.AnsCoder(self._words)
        except ValueError as error:
            raise CorruptError(f"the coded symbols are damaged: {error}") from error

    def decode(self, tables: np.ndarray) -> np.ndarray:
        """Symbols, int32 (n,), of the next group.

        Args:
            tables: uint8 (n,) in [0, 63].

        Raises:
            CorruptError: The words ran out in a way that no whole stream does.
        """
        is_first, order, counts = _by_table(tables)
        symbols = np.zeros(len(tables), np.int32)
        if is_first is not None:
            first = self._pop([len(tables) - len(order)])
            nonzero = np.flatnonzero(first != 0)
            if len(nonzero):
                symbols[np.flatnonzero(is_first)[nonzero]] = first[nonzero]
        symbols[order] = self._pop(counts)
        if _reaches_edge(symbols):
            at_edge = np.flatnonzero(np.abs(symbols) == EDGE)
            excess = self._pop([len(at_edge)], _WIDEST)
            symbols[at_edge] += np.sign(symbols[at_edge]) * (excess + EDGE)
        return symbols

    def _pop(self, counts: Sequence[int], first_table: int = 0) -> np.ndarray:
        """The next symbols, so many of each table from ``first_table`` on, in [-127, 127]."""
        parts: list[np.ndarray] = []
        try:
            for table, left in enumerate(counts, first_table):
                if left >= _FEWEST_NARROW and table < len(_NARROW_MODELS):
                    left -= self._pop_narrow(table, left, parts)
                if left:
                    parts.append(self._coder.decode(_MODELS[table], left))
        except (AssertionError, ValueError) as error:
            raise CorruptError(f"the coded symbols are damaged: {error}") from error
        return (np.concatenate(parts) if parts else np.empty(0, np.int32)) - EDGE

    def _pop_narrow(self, table: int, count: int, parts: list[np.ndarray]) -> int:
        """Pop symbols by the narrow model of a table, each time twice as many, until one of them
        lies beyond.

        Args:
            parts: Where the symbols are put, plus 127.

        Returns:
            How many they are.
        """
        num_popped, size, edge = 0, _FEWEST_NARROW, _NARROW_EDGES[table]
        while count - num_popped >= size and self._narrow_balance > 0:
            place = self._coder.pos()
            symbols = self._coder.decode(_NARROW_MODELS[table], size)  # plus the edge
            if symbols.min() == 0 or symbols.max() == 2 * edge:
                # Which symbol that was, only the whole table says: go back.
                self._coder = constriction.stream.stack.AnsCoder(self._words)
                self._coder.seek(*place)
                self._narrow_balance -= 4 * size
                break
            parts.append(symbols + (EDGE - edge))
            self._narrow_balance += size
            num_popped += size
            size = min(2 * size, max(count - num_popped, _FEWEST_NARROW))
        return num_popped

    def is_empty(self) -> bool:
        """Whether every word has been used up, as after the last symbol of a whole stream."""
        return bool(self._coder.is_empty())
