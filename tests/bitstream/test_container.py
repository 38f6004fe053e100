"""The header says what it says, byte by byte, or is refused."""

import struct
import zlib

import numpy as np
import pytest

from salcompress.bitstream.container import (
    Header,
    check_size,
    read_header,
    read_stream,
    symbol_checksum,
    write_stream,
)
from salcompress.bitstream.format import HEADER_BYTES, MAX_PIXELS
from salcompress.errors import (
    CorruptError,
    SettingError,
    TruncatedError,
)

HEADER = Header(480, 641, 31, 17, b"abcd", 8, 0x01020304, 0x05060708)
STREAM = write_stream(HEADER, b"payload!")


def forged(**changes) -> bytes:
    """A stream whose header is valid in itself but says something else."""
    fields = (
        dict(
            magic=b"SALC",
            version=2,
            flags=1,
            height=480,
            width=641,
            level=31,
            table=17,
            model=b"abcd",
            size=8,
            crc=1,
            fine=2,
        )
        | changes
    )
    packed = struct.pack("<4sBBIIBB4sIII", *fields.values())
    return packed + struct.pack("<I", zlib.crc32(packed)) + b"payload!"


def test_golden_bytes():
    assert (
        STREAM.hex() == "53414c430201e0010000810200001f11616263640800000004030201080706055cfc7df8"
        "7061796c6f616421"
    )
    assert HEADER_BYTES == 36 and STREAM[36:] == b"payload!"
    assert read_header(STREAM) == HEADER and read_stream(STREAM) == (HEADER, b"payload!")


def test_without_a_map():
    header = HEADER._replace(map_table=None)
    assert read_header(write_stream(header, b"payload!")) == header


def test_every_flipped_bit_of_the_header_is_noticed():
    for position in range(HEADER_BYTES):
        for bit in range(8):
            damaged = bytearray(STREAM)
            damaged[position] ^= 1 << bit
            with pytest.raises(CorruptError, match="not a .salc stream|checksum"):
                read_header(bytes(damaged))


def test_every_truncation_is_noticed():
    for length in range(len(STREAM)):
        with pytest.raises(TruncatedError, match="ends within its header|holds . of 8 bytes"):
            read_stream(STREAM[:length])
    with pytest.raises(CorruptError, match="1 bytes follow the end"):
        read_stream(STREAM + b"x")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"version": 3}, "version 3 of the format is not known"),
        ({"height": 65535, "width": 65535}, "out of range: 65535x65535 pixels"),
        ({"height": 2**32 - 1, "width": 2**32 - 1}, "out of range"),
        ({"height": 0}, "out of range"),
        ({"level": 64}, "out of range"),
        ({"table": 64}, "out of range"),
        ({"flags": 2}, "out of range"),
        ({"size": 7}, "out of range"),
    ],
)
def test_headers_that_lie(changes, message):
    with pytest.raises(CorruptError, match=message):
        read_stream(forged(**changes))


def test_what_is_something_else():
    for other in (b"\xff\xd8\xff\xe0" + bytes(99), b"RIFF", b"x"):
        with pytest.raises(CorruptError, match="not a .salc stream"):
            read_header(other)


def test_size_limit():
    check_size(8192, 8192)
    check_size(1, MAX_PIXELS // 64)
    for height, width in ((1, MAX_PIXELS // 64 + 1), (MAX_PIXELS, 1), (8193, 8192)):
        with pytest.raises(
            SettingError, match="padded to whole 64x64 cells, has more than the .* cut or shrink it"
        ):
            check_size(height, width)


def test_checksum_sees_values_order_and_levels():
    one, two = np.array([1, -2], np.int32), np.array([3], np.int32)
    levels = np.array([[1, 2]], np.uint8)
    known = symbol_checksum([one, two], levels)
    assert known == symbol_checksum([np.array([1, -2, 3], np.int32)], levels)
    others = [
        symbol_checksum([two, one], levels),
        symbol_checksum([one, two], levels + 1),
        symbol_checksum([one], levels),
        symbol_checksum([one, two]),
    ]
    assert len({known, *others}) == 5
