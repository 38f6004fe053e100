"""Where the rate is counted: the bits of symbols by the coder's integer tables, without writing a
stream.

One image is a batch of one. The counts are made where the symbols are, so that nothing waits for a
device.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.entropy_coder import count_bits
from salcompress.bitstream.format import HEADER_BYTES, MAX_SYMBOL, NUM_TABLES
from salcompress.codecs.salient.level_map import map_bits
from salcompress.codecs.salient.symbols import SymbolTensors
from salcompress.models.batch_extent import Extent
from salcompress.models.groups import NUM_COARSE_GROUPS, NUM_GROUPS, checkerboard, quarters

OVERHEAD_BITS = 8 * HEADER_BYTES + 32
"""Of a stream beside what its symbols cost: the header, and half a word of the coder's state."""
_NUM_SYMBOLS = 2 * MAX_SYMBOL + 1


def stream_bits(found: SymbolTensors, base: Tensor) -> Tensor:
    """Length of each image's stream in bits, headers included; the stream's own within 64 bits.

    Args:
        found: The images' symbols.
        base: Base level of each image, int64 (N,).

    Returns:
        int64 (N,).
    """
    symbols = torch.cat([group.flatten(1) for group in found.groups], 1)
    bits = symbol_bits(symbols, torch.cat([used.flatten(1) for used in found.tables], 1))
    if found.extent is not None:
        bits *= torch.cat(
            [_inside(found, found.extent, k).flatten(1) for k in range(len(found.groups))], 1
        )
    return torch.ceil(bits.sum(1) + _map_bits(found, base).sum((1, 2))).long() + OVERHEAD_BITS


def spatial_bits(found: SymbolTensors, base: Tensor) -> Tensor:
    """Bits at each 16x16 place of the padded images; the header counts nowhere.

    A cell's level-2 symbols and its entry of the quality map count in equal parts at its 16 places.
    Level 2 is padded to even sides: what lies beyond the last cell counts with that.

    Args:
        found, base: As of :func:`stream_bits`; the images are of one size.

    Returns:
        float64 (N, 4 rows, 4 columns).
    """
    cells = _map_bits(found, base).clone()
    count, rows, columns = cells.shape
    padded = cells.new_zeros(count, rows + rows % 2, columns + columns % 2)
    places = cells.new_zeros(count, 4 * rows, 4 * columns)
    for index, (symbols, tables) in enumerate(zip(found.groups, found.tables)):
        bits = symbol_bits(symbols, tables)
        if index < NUM_COARSE_GROUPS:
            for part, (row, column) in zip(bits.chunk(2, 1), checkerboard(index)):
                padded[:, row::2, column::2] += part.sum(1)
        else:
            phases = quarters(index - NUM_COARSE_GROUPS)
            for part, (_, (row, column)) in zip(bits.chunk(NUM_GROUPS, 1), phases):
                places[:, row::2, column::2] += part.sum(1)
    padded[:, rows - 1] += padded[:, rows:].sum(1)
    padded[:, :, columns - 1] += padded[:, :, columns:].sum(2)
    cells += padded[:, :rows, :columns]
    return places + (cells / 16).repeat_interleave(4, 1).repeat_interleave(4, 2)


def symbol_bits(symbols: Tensor, tables: Tensor) -> Tensor:
    """Bits of each symbol under its table, as ``entropy_coder.count_bits`` has them.

    Args:
        symbols: int32, of any shape.
        tables: uint8, of the same shape.

    Returns:
        float64, of the same shape.
    """
    # take, not an index: it neither waits for the device nor makes a second index tensor
    place = tables.to(torch.int64).mul_(_NUM_SYMBOLS).add_(symbols).add_(MAX_SYMBOL)
    return torch.take(_bits(symbols.device), place)


@functools.cache
def _bits(device: torch.device) -> Tensor:
    """Bits of every symbol under every table, so that one look-up is enough."""
    symbols = np.tile(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1), NUM_TABLES)
    bits = count_bits(symbols, np.repeat(np.arange(NUM_TABLES), _NUM_SYMBOLS))
    return torch.from_numpy(bits).to(device)


def _map_bits(found: SymbolTensors, base: Tensor) -> Tensor:
    """Bits of each cell's entry of the quality map, float64 (N, rows, columns)."""
    levels, inside = found.cell_levels[:, 0], None
    if found.extent is not None:
        inside = found.extent.inside(found.cell_levels.shape[2:], 1)[:, 0]
    return map_bits(levels, base, inside)[1]


def _inside(found: SymbolTensors, extent: Extent, index: int) -> Tensor:
    """1 where the images have symbols of a group, 0 in the padding, of the group's shape."""
    group, coarse = found.groups[index], index < NUM_COARSE_GROUPS
    inside = extent.inside(group.shape[2:], 0.5 if coarse else 2, even=coarse)
    return inside.expand(group.shape)
