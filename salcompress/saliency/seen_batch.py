"""Where the pictures of a batch lie that the saliency network sees at several sizes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_STRIDES = (1, 2, 4, 8, 16, 32)
"""Pixels of the picture between two positions of the network's features."""
_RESIZES = ((32, 16), (32, 8), (32, 4), (16, 8), (16, 4), (8, 4), (4, 1))
"""Strides between which the network resizes, from and to."""
_NAMES = (
    *(f"inside {stride}" for stride in _STRIDES),
    *(f"{stride} to {to}" for stride, to in _RESIZES),
)
"""Of what there is to know along a side, in its order."""


def _lengths(longest: int) -> list[int]:
    """How many values each of ``_NAMES`` has along a side of the batch."""
    return [
        *(-(-longest // stride) for stride in _STRIDES),
        *(-(-longest // to) for _, to in _RESIZES),
    ]


class SeenBatch:
    """Heights and widths of pictures, from the top left corner of a batch that is padded to one
    size.

    Layers that look around themselves see zeros beyond a picture's edge, and resizes repeat its
    last row and column, so that a picture comes out of the batch as if alone. All that this needs
    is made on the host by :func:`seen_lines` and brought to the device at once: each kernel costs
    more to launch than to run.

    Args:
        lines: What :func:`seen_lines` gives, on the network's device.
        size: Height and width of the batch.
    """

    def __init__(self, lines: Tensor, size: tuple[int, int]):
        self.size = size
        parts = iter(lines.split([length for longest in size for length in _lengths(longest)], 1))
        self._down, self._across = ({name: next(parts) for name in _NAMES} for _ in size)
        self._masks: dict[str, Tensor] = {}
        self._grids: dict[tuple[int, int], Tensor] = {}

    def _mask(self, name: str) -> Tensor:
        """Product of a line down and one across, (N, 1, h, w)."""
        if name not in self._masks:
            down, across = self._down[name], self._across[name]
            self._masks[name] = down[:, None, :, None] * across[:, None, None, :]
        return self._masks[name]

    def inside(self, stride: int) -> Tensor:
        """1 where the pictures are, 0 beyond, float32 (N, 1, h, w) at a stride."""
        return self._mask(f"inside {stride}")

    def mean(self, features: Tensor, stride: int) -> Tensor:
        """Mean over each picture of features (N, C, h, w) that are 0 beyond it; (N, C)."""
        inside = self.inside(stride)
        return features.sum((2, 3)) / inside.sum((2, 3))

    def resize(self, features: Tensor, stride: int, to: int) -> Tensor:
        """Features (N, C, h, w) enlarged bilinearly from a stride to another, each picture for
        itself.

        What lies beyond a picture then means nothing.
        """
        if (stride, to) not in self._grids:
            name = f"{stride} to {to}"
            down, across = self._down[name], self._across[name]
            shape = (-1, down.shape[1], across.shape[1])
            self._grids[stride, to] = torch.stack(
                [across[:, None].expand(shape), down[:, :, None].expand(shape)], -1
            )
        grid = self._grids[stride, to]
        return F.grid_sample(features, grid, padding_mode="border", align_corners=False)


def seen_lines(sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """What there is to know along both sides of each picture, float32 (N, values), on the host.

    Args:
        sizes: Height and width of each picture.
        size: Height and width of the batch.
    """
    lengths = np.array(sizes, np.int64).T
    lines = [
        line for along, longest in zip(lengths, size) for line in _lines(along, longest).values()
    ]
    return torch.from_numpy(np.concatenate(lines, 1, dtype=np.float32))


def _lines(lengths: np.ndarray, longest: int) -> dict[str, np.ndarray]:
    """What there is to know along one side of the pictures, each line (N, positions).

    Args:
        lengths: The side's length in each picture, (N,).
        longest: The side's length in the batch.
    """
    length = lengths[:, None]
    lines: dict[str, np.ndarray] = {
        f"inside {stride}": np.arange(-(-longest // stride)) < -(-length // stride)
        for stride in _STRIDES
    }
    for stride, to in _RESIZES:
        coarse, fine = -(-length // stride), -(-length // to)
        source = (np.arange(-(-longest // to)) + 0.5) * (coarse / fine) - 0.5
        # grid_sample counts from -1 to 1 over the batch, from edge to edge
        centre = source.clip(0, coarse - 1) + 0.5
        lines[f"{stride} to {to}"] = 2 * centre / -(-longest // stride) - 1
    return lines
