"""Where the images of a batch lie that was padded to one size."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Extent:
    """Rows and columns of 64x64 cells that each image of a batch has, from the top left corner.

    What lies beyond them is padding. Layers that look around themselves see zeros there, as beyond
    the edge of an image that is alone, so that an image comes out of the batch as if alone.

    Args:
        rows, columns: Of each image, int64 (N,), on the networks' device.
    """

    def __init__(self, rows: Tensor, columns: Tensor):
        self.rows, self.columns = rows, columns
        self._masks: dict[tuple, Tensor] = {}

    def inside(self, size: Sequence[int], per_cell: float, even: bool = False) -> Tensor:
        """1 where the images are, 0 beyond, float32 (N, 1, *size).

        Args:
            size: Positions of the batch, (h, w).
            per_cell: Positions that a cell has along each side.
            even: Sides count as padded to an even number of cells, as level 2 has it.
        """
        key = (*size, per_cell, even)
        if key not in self._masks:
            rows, columns = (
                ((side + side % 2 if even else side) * per_cell)[:, None]
                for side in (self.rows, self.columns)
            )
            down, across = (torch.arange(length, device=self.rows.device) for length in size)
            self._masks[key] = (
                (down < rows)[:, None, :, None] & (across < columns)[:, None, None, :]
            ).float()
        return self._masks[key]

    def repeat_edges(self, values: Tensor, per_cell: int, height: int, width: int) -> Tensor:
        """Values (N, C, h, w) as (N, C, height, width); beyond an image its own last row and column
        repeat.
        """
        down, across = (
            torch.minimum(torch.arange(length, device=values.device), side[:, None] * per_cell - 1)
            for length, side in ((height, self.rows), (width, self.columns))
        )
        images, channels = (torch.arange(count, device=values.device) for count in values.shape[:2])
        return values[
            images[:, None, None, None],
            channels[:, None, None],
            down[:, None, :, None],
            across[:, None, None, :],
        ]
