"""The quality map in a stream: the levels of the cells as differences, which one table codes."""

import functools

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import Header
from salcompress.bitstream.entropy_coder import TABLE_BITS, GroupDecoder
from salcompress.bitstream.format import EDGE, NUM_LEVELS
from salcompress.errors import CorruptError


def differences_of(levels: Tensor, base: Tensor) -> Tensor:
    """Each cell's level less that of the cell before it: of the cell above in the first column, and
    of the base for the first cell.

    Args:
        levels: Of the cells of images, integer (N, rows, columns).
        base: Base level of each image, integer (N,).

    Returns:
        Integer (N, rows, columns).
    """
    first_column = torch.cat([base[:, None, None], levels[:, :-1, :1]], 1)
    return levels - torch.cat([first_column, levels[:, :, :-1]], 2)


def map_bits(levels: Tensor, base: Tensor, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which table codes the map of each image in the fewest bits, and the bits of each cell by it.

    A map that is the base everywhere is not coded: its table is -1, and its bits are 0.

    Args:
        levels, base: As of :func:`differences_of`.
        inside: 1 where each image is, (N, rows, columns), where images are of several sizes.

    Returns:
        The tables, int64 (N,), and the bits, float64 (N, rows, columns).
    """
    bits = _table_bits(levels.device)[:, differences_of(levels, base) + EDGE]
    plain = levels == base[:, None, None]
    if inside is not None:
        bits, plain = bits * inside, plain | (inside == 0)
    tables = bits.sum((2, 3)).argmin(0)
    by_best = bits[tables, torch.arange(len(levels), device=levels.device)]
    is_plain = plain.flatten(1).all(1)
    return (
        torch.where(is_plain, -1, tables),
        torch.where(is_plain[:, None, None], 0.0, by_best),
    )


def map_group(levels: np.ndarray, base: int) -> tuple[int | None, list]:
    """The map of one image as it is written: its table, and a group of symbols and tables; None and
    no group where it is the base everywhere.

    Args:
        levels: uint8 (rows, columns).
        base: Base level.
    """
    if (levels == base).all():
        return None, []
    cells = torch.from_numpy(levels.astype(np.int64))[None]
    (table,) = map_bits(cells, torch.tensor([base]))[0].tolist()
    symbols = differences_of(cells, torch.tensor([base])).flatten().numpy().astype(np.int32)
    return table, [(symbols, np.full(len(symbols), table, np.uint8))]


def read_levels(decoder: GroupDecoder, header: Header, shape: tuple[int, int]) -> np.ndarray:
    """The levels of a stream's cells, uint8 of ``shape``: what its first group says, if there is a
    map.

    Raises:
        CorruptError: A level is out of its range.
    """
    if header.map_table is None:
        return np.full(shape, header.level, np.uint8)
    tables = np.full(shape[0] * shape[1], header.map_table, np.uint8)
    levels = decoder.decode(tables).reshape(shape).astype(np.int64)
    levels[:, 0] = header.level + np.cumsum(levels[:, 0])
    levels = np.cumsum(levels, 1)
    if levels.min() < 0 or levels.max() >= NUM_LEVELS:
        raise CorruptError("the quality map is damaged: a level is out of range")
    return levels.astype(np.uint8)


@functools.cache
def _table_bits(device: torch.device) -> Tensor:
    """Bits of each symbol under each table, float64 (64, 255)."""
    return torch.from_numpy(TABLE_BITS).to(device)
