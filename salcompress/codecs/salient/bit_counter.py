"""Lengths of streams in bits, counted from the integer tables where the symbols are, so that
nothing waits for the device.
"""

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.entropy_coder import TABLE_BITS, count_bits
from salcompress.bitstream.format import EDGE, MAX_SYMBOL, NUM_TABLES
from salcompress.codecs.salient.coder import OVERHEAD_BITS, SymbolTensors
from salcompress.models.prior import NUM_COARSE_GROUPS

_NUM_SYMBOLS = 2 * MAX_SYMBOL + 1


class BitCounter:
    """Counts what :func:`salcompress.codecs.salient.coder.count` counts, of whole batches.

    Args:
        device: Of the symbols.
    """

    def __init__(self, device: torch.device | str):
        symbols = np.tile(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1), NUM_TABLES)
        bits = count_bits(symbols, np.repeat(np.arange(NUM_TABLES), _NUM_SYMBOLS))
        self._bits = torch.from_numpy(bits).to(
            device
        )  # of every symbol under every table, so that one look-up is enough
        self._table_bits = torch.from_numpy(TABLE_BITS).to(device)

    def __call__(self, found: SymbolTensors, levels: Tensor) -> Tensor:
        """Length of each image's stream, headers included, int64 (N,); images were coded at base
        ``levels``, int64 (N,).
        """
        symbols = torch.cat([group.flatten(1) for group in found.groups], 1)
        tables = torch.cat([used.flatten(1) for used in found.tables], 1)
        # take, not index: it neither waits for the device nor makes a second index tensor
        bits = torch.take(
            self._bits, tables.to(torch.int64).mul_(_NUM_SYMBOLS).add_(symbols).add_(MAX_SYMBOL)
        )
        inside = None
        if found.extent is not None:
            per_cell = [0.5 if k < NUM_COARSE_GROUPS else 2 for k in range(len(found.groups))]
            bits *= torch.cat(
                [
                    found.extent.inside(group.shape[2:], each, even=each < 1)
                    .expand(group.shape)
                    .flatten(1)
                    for group, each in zip(found.groups, per_cell)
                ],
                1,
            )
            inside = found.extent.inside(found.cell_levels.shape[2:], 1)[:, 0]
        return (
            torch.ceil(
                bits.sum(1) + self._map_bits(found.cell_levels[:, 0], levels[:, None, None], inside)
            ).long()
            + OVERHEAD_BITS
        )

    def _map_bits(self, levels: Tensor, base: Tensor, inside: Tensor | None) -> Tensor:
        """Of quality maps (N, rows, columns): differences from the cell before, by the table that
        suits each map best; float64 (N,).
        """
        first_column = torch.cat([base, levels[:, :-1, :1]], 1)
        differences = (levels - torch.cat([first_column, levels[:, :, :-1]], 2)).flatten(1)
        bits, plain = self._table_bits[:, differences + EDGE], levels == base
        if inside is not None:
            bits, plain = bits * inside.flatten(1), plain | (inside == 0)
        bits = bits.sum(2).amin(0)
        return torch.where(plain.flatten(1).all(1), torch.zeros_like(bits), bits)
