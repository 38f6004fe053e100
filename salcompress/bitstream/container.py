"""The .salc file: one image, 36 bytes of header and the coded symbols. All numbers are
little-endian.

    offset  bytes  field
    0       4      magic, "SALC"
    4       1      version, 2
    5       1      flags: bit 0 is set where a quality map is coded before the latents; the
                   others are 0
    6       4      H, height of the image in pixels, at least 1
    10      4      W, width; padded to whole 64x64 cells the image has at most 2^26 pixels
    14      1      base quality level, 0 .. 63; that of every cell where there is no map
    15      1      table of the map's differences, 0 .. 63; 0 where there is no map
    16      4      first four bytes of the model's fingerprint
    20      4      length of the coded symbols in bytes, a multiple of 4
    24      4      CRC-32 of what is decoded first: the levels of all cells (uint8), then the
                   level-2 symbols (int16), group after group
    28      4      CRC-32 of the level-1 symbols (int16), group after group
    32      4      CRC-32 of bytes 0 .. 31
    36      ...    coded symbols (see entropy_coder): the quality map if there is one, the level-2
                   groups, the level-1 groups

The CRCs of the symbols are checked after decoding, the first before level 1 is begun, so that a
header which lies about its size takes little time and memory: whatever changes a symbol, damage to
the words or a machine that computes another table index, is an error and not a wrong picture.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from salcompress.bitstream.format import (
    CELL,
    HEADER_BYTES,
    MAGIC,
    MAX_PIXELS,
    NUM_LEVELS,
    NUM_TABLES,
    VERSION,
    cells_of,
)
from salcompress.errors import CorruptError, SettingError, TruncatedError

_LAYOUT = struct.Struct("<4sBBIIBB4sIII")  # the header but for its own CRC


class Header(NamedTuple):
    """What a .salc file says before its symbols."""

    height: int
    width: int
    level: int
    """Base quality level, 0 .. 63."""
    map_table: int | None
    """Table of the quality map's differences; None where there is no map."""
    fingerprint: bytes
    """First four bytes of the model's."""
    num_bytes: int
    """Length of the coded symbols."""
    coarse_crc: int
    """Of the quality map and level 2."""
    fine_crc: int
    """Of level 1."""


def write_stream(header: Header, payload: bytes) -> bytes:
    """A whole file.

    Raises:
        SettingError: The image is too large for the format.
    """
    check_size(header.height, header.width)
    fields = _LAYOUT.pack(
        MAGIC,
        VERSION,
        header.map_table is not None,
        header.height,
        header.width,
        header.level,
        header.map_table or 0,
        header.fingerprint,
        len(payload),
        header.coarse_crc,
        header.fine_crc,
    )
    return fields + struct.pack("<I", zlib.crc32(fields)) + payload


def read_header(stream: bytes) -> Header:
    """Header of a file, checked in itself; nothing is allocated by its figures.

    Raises:
        TruncatedError: The file ends within its header.
        CorruptError: It is no .salc file, of another version, or damaged.
    """
    if len(stream) < HEADER_BYTES:
        if not MAGIC.startswith(stream[: len(MAGIC)]):
            raise CorruptError("not a .salc stream")
        raise TruncatedError(
            f"the stream ends within its header, after {len(stream)} of {HEADER_BYTES} bytes"
        )
    (
        magic,
        version,
        flags,
        height,
        width,
        level,
        map_table,
        fingerprint,
        num_bytes,
        coarse_crc,
        fine_crc,
    ) = _LAYOUT.unpack_from(stream)
    if magic != MAGIC:
        raise CorruptError("not a .salc stream")
    if zlib.crc32(stream[: _LAYOUT.size]) != struct.unpack_from("<I", stream, _LAYOUT.size)[0]:
        raise CorruptError("the header is damaged: its checksum does not match")
    if version != VERSION:
        raise CorruptError(
            f"version {version} of the format is not known here; this package reads version "
            f"{VERSION}"
        )
    if not (
        flags <= 1
        and height >= 1
        and width >= 1
        and _padded_pixels(height, width) <= MAX_PIXELS
        and level < NUM_LEVELS
        and map_table < NUM_TABLES
        and (flags or map_table == 0)
        and num_bytes % 4 == 0
    ):
        raise CorruptError(
            f"the header's fields are out of range: {width}x{height} pixels, level {level}, "
            f"flags {flags}"
        )
    return Header(
        height,
        width,
        level,
        map_table if flags else None,
        fingerprint,
        num_bytes,
        coarse_crc,
        fine_crc,
    )


def read_stream(stream: bytes) -> tuple[Header, bytes]:
    """Header and coded symbols of a file.

    Raises:
        TruncatedError: The file is shorter than its header says.
        CorruptError: It is longer, damaged, or no .salc file.
    """
    header = read_header(stream)
    check_length(header, len(stream))
    return header, stream[HEADER_BYTES:]


def check_length(header: Header, num_bytes: int) -> None:
    """Raise unless a file of this header has ``num_bytes``.

    Raises:
        TruncatedError: It is shorter than its header says.
        CorruptError: It is longer.
    """
    held = num_bytes - HEADER_BYTES
    if held < header.num_bytes:
        raise TruncatedError(
            f"the stream holds {held} of {header.num_bytes} bytes of coded symbols"
        )
    if held > header.num_bytes:
        raise CorruptError(f"{held - header.num_bytes} bytes follow the end of the stream")


def symbol_checksum(groups: Iterable[np.ndarray], levels: np.ndarray | None = None) -> int:
    """CRC-32 of the levels of all cells, if given, and then of the symbols of the groups."""
    crc = 0 if levels is None else zlib.crc32(np.ascontiguousarray(levels, np.uint8).data)
    for symbols in groups:
        crc = zlib.crc32(np.ascontiguousarray(symbols, "<i2").data, crc)
    return crc


def check_size(height: int, width: int) -> None:
    """Raise unless the format holds an image of this size.

    Raises:
        SettingError: It is too large.
    """
    if _padded_pixels(height, width) > MAX_PIXELS:
        raise SettingError(
            f"an image of {width}x{height}, padded to whole {CELL}x{CELL} cells, has more than "
            f"the {MAX_PIXELS} pixels of the "
            ".salc format; cut or shrink it first"
        )


def _padded_pixels(height: int, width: int) -> int:
    rows, columns = cells_of(height, width)
    return rows * columns * CELL**2
