"""Images as symbols: what stands between the networks and the bytes."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from salcompress.models.batch_extent import Extent


class SymbolTensors(NamedTuple):
    """Images of one batch as symbols, on the networks' device."""

    groups: list[Tensor]
    """Symbols of each group, int32 (N, C', h', w'), level 2 first."""
    tables: list[Tensor]
    """Their tables, uint8 of the same shapes."""
    latent: Tensor
    """What the decoder will see, (N, C, h, w)."""
    cell_levels: Tensor
    """Quality level of each cell, integer (N, 1, rows, columns)."""
    extent: Extent | None = None
    """Where the images are, if they are of several sizes: what lies beyond means nothing."""

    def image(self, k: int) -> "SymbolTensors":
        """One image of a batch whose images are of one size, as a batch of one."""
        one = slice(k, k + 1)
        return SymbolTensors(
            [group[one] for group in self.groups],
            [tables[one] for tables in self.tables],
            self.latent[one],
            self.cell_levels[one],
        )


class HostSymbols(NamedTuple):
    """One image as symbols, on the host, as its stream is written from them."""

    levels: np.ndarray
    """Quality level of each cell, uint8 (rows, columns)."""
    groups: list[np.ndarray]
    """Symbols of each group, int16 (C', h', w'), level 2 first."""
    tables: list[np.ndarray]
    """Their tables, uint8 of the same shapes."""
