"""Large images in tiles: what a tile may change, what it sees, and what of it is shown."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.bitstream.format import CELL

TILE_SIDE = 10
"""Most cells along the side of a tile's core, which is what the tile may change. One cell around
the core, as far as the synthesis sees, belongs to the tile too and stays as it is."""

Index = tuple
"""Of a part of a tensor, by its last two sides."""


class Part(NamedTuple):
    """Cells along one side of a tile."""

    start: int
    """Even, so that a tile's level-2 groups are those of the image."""
    core_start: int
    core_end: int
    end: int


def parts(num_cells: int) -> list[Part]:
    """Cores of at most about :data:`TILE_SIDE` cells that cover a side, each with a cell on both
    sides.

    >>> [tuple(part) for part in parts(21)]
    [(0, 0, 7, 8), (6, 7, 15, 16), (14, 15, 21, 21)]
    """
    count = -(-num_cells // TILE_SIDE)
    bounds = [0, *(k * num_cells // count | 1 for k in range(1, count)), num_cells]
    return [
        Part(max(start - 1, 0), start, end, min(end + 1, num_cells))
        for start, end in itertools.pairwise(bounds)
    ]


class Tile(NamedTuple):
    """Cells searched at once: a core, which the search may change, and a cell around it."""

    down: Part
    across: Part

    def window(self, per_cell: int) -> Index:
        """Where the tile lies in an image that has so many places a cell along each side."""
        return (..., *(slice(per_cell * p.start, per_cell * p.end) for p in self))

    def coarse_window(self) -> Index:
        """Where it lies in level 2, whose sides are padded to even ones."""
        return (..., *(slice(p.start, p.end + (p.end - p.start) % 2) for p in self))

    def free(self, like: Tensor, per_cell: int) -> Tensor:
        """Whether the search may change a value, bool (1, C, h, w), of a latent of the tile."""
        free = torch.zeros_like(like[:1], dtype=torch.bool)
        down, across = (
            slice(
                per_cell * (p.core_start - p.start),
                per_cell * (p.core_end - p.start) if p.core_end < p.end else None,
            )
            for p in self
        )
        free[..., down, across] = True
        return free

    def shown(self) -> tuple[Index, Index]:
        """What of the tile's reconstruction is shown, and where in the image.

        It is the core and half a cell around it. Beyond that the reconstruction lacks too much of
        what lies around the tile.
        """
        half = CELL // 2
        edges = [
            (
                max(CELL * p.core_start - half, CELL * p.start),
                min(CELL * p.core_end + half, CELL * p.end),
                CELL * p.start,
            )
            for p in self
        ]
        return (
            (..., *(slice(start - first, end - first) for start, end, first in edges)),
            (..., *(slice(start, end) for start, end, _ in edges)),
        )


def tiles_of(rows: int, columns: int) -> list[Tile]:
    """Tiles that cover an image of so many cells, in the order in which they are searched."""
    return [Tile(down, across) for down in parts(rows) for across in parts(columns)]
