"""The coder writes what its integer tables say, and reads it back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salcompress.bitstream.entropy_coder import TABLES, GroupDecoder, count_bits, encode_groups
from salcompress.bitstream.format import (
    EDGE,
    LARGEST_SCALE,
    MAX_SYMBOL,
    NUM_TABLES,
    PRECISION,
    SMALLEST_SCALE,
)
from salcompress.errors import CorruptError


def draw_groups(seed, sizes, scale=1.0):
    """Groups of symbols that follow their tables, more or less."""
    rng = np.random.default_rng(seed)
    groups = []
    for size in sizes:
        tables = rng.integers(0, NUM_TABLES, size).astype(np.uint8)
        deviation = np.geomspace(SMALLEST_SCALE, LARGEST_SCALE, NUM_TABLES)[tables] * scale
        groups.append(
            (
                np.clip(np.rint(rng.normal(0, deviation)), -MAX_SYMBOL, MAX_SYMBOL).astype(
                    np.int32
                ),
                tables,
            )
        )
    return groups


def reference_encode(groups) -> bytes:
    """The same coder in plain Python integers: 64-bit state, 32-bit words (Duda 2009)."""
    words, state = [], 0
    for symbols, tables in reversed(groups):
        coded = [
            (tables[k], min(max(int(symbols[k]), -EDGE), EDGE))
            for k in sorted(range(len(tables)), key=lambda k: tables[k])
        ]
        coded += [(NUM_TABLES - 1, abs(int(s)) - 2 * EDGE) for s in symbols if abs(s) >= EDGE]
        for table, value in reversed(coded):
            row, symbol = TABLES[table], value + EDGE
            frequency, below = int(row[symbol]), int(row[:symbol].sum())
            if state >> (64 - PRECISION) >= frequency:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            state = (state // frequency << PRECISION) + below + state % frequency
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return b"".join(word.to_bytes(4, "little") for word in words)


def reference_decode(payload, tables_of_groups):
    """The symbols of groups as the same plain coder pops them."""
    words = [int(word) for word in np.frombuffer(payload, "<u4")]
    state = 0
    for _ in range(2):
        state = state << 32 | (words.pop() if words else 0)

    def pop(table) -> int:
        nonlocal state
        row, quantile = TABLES[table], state % 2**PRECISION
        symbol = int(np.searchsorted(np.cumsum(row), quantile, "right"))
        state = int(row[symbol]) * (state >> PRECISION) + quantile - int(row[:symbol].sum())
        if words and state < 2**32:
            state = state << 32 | words.pop()
        return symbol - EDGE

    groups = []
    for tables in tables_of_groups:
        symbols = np.zeros(len(tables), np.int32)
        for k in np.argsort(tables, kind="stable"):
            symbols[k] = pop(tables[k])
        for k in np.flatnonzero(np.abs(symbols) == EDGE):
            symbols[k] += np.sign(symbols[k]) * (pop(NUM_TABLES - 1) + EDGE)
        groups.append(symbols)
    return groups


def test_tables_are_whole():
    assert TABLES.shape == (NUM_TABLES, 2 * EDGE + 1) and TABLES.min() >= 1
    assert (TABLES.sum(1) == 2**PRECISION).all()
    assert np.array_equal(TABLES[:, ::-1], TABLES)  # a symbol costs what its negative costs
    assert (np.diff(TABLES[:, EDGE]) < 0).all()  # each table is wider than the one before


def test_bytes_are_those_of_a_plain_python_coder():
    groups = draw_groups(1, (500, 0, 37, 1))
    assert encode_groups(groups) == reference_encode(groups)


def test_golden_words():
    """Changes to the format show here."""
    symbols, tables = (
        np.array([0, 1, -1, 5, -127, 381, 0], np.int32),
        np.array([0, 10, 10, 30, 63, 63, 0], np.uint8),
    )
    assert encode_groups([(symbols, tables)]).hex() == GOLDEN


GOLDEN = "f27ffd8c3dd8478b1e000000"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(0, 300), max_size=8),
    scale=st.sampled_from([0.3, 1.0, 4.0]),
)
def test_round_trip(seed, sizes, scale):
    groups = draw_groups(seed, sizes, scale)
    decoder = GroupDecoder(encode_groups(groups))
    for symbols, tables in groups:
        assert np.array_equal(decoder.decode(tables), symbols)
    assert decoder.is_empty()


def test_symbols_beyond_the_tables():
    symbols = np.array(
        [MAX_SYMBOL, -MAX_SYMBOL, EDGE, -EDGE, EDGE + 1, 0, -EDGE - 1, EDGE - 1], np.int32
    )
    groups = [(symbols, np.arange(8, dtype=np.uint8)), (symbols[::-1], np.full(8, 63, np.uint8))]
    stream = encode_groups(groups)
    assert stream == reference_encode(groups)
    decoder = GroupDecoder(stream)
    assert (
        all(np.array_equal(decoder.decode(tables), group) for group, tables in groups)
        and decoder.is_empty()
    )


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
@pytest.mark.parametrize("place", [None, 0, 255, 256, 700, 999])
@pytest.mark.parametrize("table", [0, 8, 20, 30])
def test_one_symbol_far_out_in_a_run_of_one_table(table, place, dtype):
    """Wherever it lies, the last symbol of the stream among the places, the run is read whole."""
    symbols = np.zeros(1000, dtype)
    if place is not None:
        symbols[place] = -MAX_SYMBOL if place % 2 else 9
    groups = [(symbols, np.full(1000, table, np.uint8))] * 2
    stream = encode_groups(groups)
    assert stream == reference_encode(groups)
    decoder = GroupDecoder(stream)
    assert all(np.array_equal(decoder.decode(tables), symbols) for _, tables in groups)
    assert decoder.is_empty()


@pytest.mark.parametrize("most", [4, NUM_TABLES])
def test_any_words_are_read_as_by_a_plain_python_coder(most):
    """Damaged ones, too: what is read of them stands in no relation to the tables."""
    rng = np.random.default_rng(5)
    tables = [rng.integers(0, most, 3000).astype(np.uint8) // 3 * 3 for _ in range(3)]
    for num_words in (3, 100, 4000):
        payload = rng.integers(1, 2**32, num_words, np.uint32).astype("<u4").tobytes()
        decoder, expected = GroupDecoder(payload), reference_decode(payload, tables)
        for symbols, of_group in zip(expected, tables):
            assert np.array_equal(decoder.decode(of_group), symbols)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("sizes", [(1,), (100,), (40_000, 40_000)])
def test_length_is_the_ideal_one(sizes, scale):
    groups = draw_groups(2, sizes, scale)
    ideal = sum(count_bits(*group).sum() for group in groups)
    assert ideal <= 8 * len(encode_groups(groups)) <= ideal * 1.001 + 64


def test_damaged_words():
    groups = draw_groups(3, (2000,))
    payload = encode_groups(groups)
    with pytest.raises(CorruptError, match="not whole 32-bit words"):
        GroupDecoder(payload[:-1])
    with pytest.raises(CorruptError, match="coded symbols are damaged"):
        GroupDecoder(payload[:-4] + bytes(4))
    decoder = GroupDecoder(payload + b"\1\0\0\0")
    assert not np.array_equal(decoder.decode(groups[0][1]), groups[0][0]) or not decoder.is_empty()
