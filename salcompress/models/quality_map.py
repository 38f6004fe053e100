"""Bit allocation: base quality and saliency give each cell a level, and a level gives each channel
its step size.

The level of every 64 x 64 cell is sent with the image, so decoding needs no saliency. Levels are
integers 0 .. 63; the gain of a channel is 2 to a power interpolated between 16 learned anchors.
Gain units are Cui et al., "Asymmetric Gained Deep Image Compression", CVPR 2021; a spatial map of
them, and their steering by saliency, are the paper's idea in our form.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.errors import SettingError

_NUM_ANCHORS = 16


def allocate_levels(quality: float, saliency: np.ndarray, strength: float) -> np.ndarray:
    """Quality level of each cell.

    A cell gets ``strength`` levels times its saliency, plus an offset that makes the mean of all
    cells, cut off at the ends of the range, the base level: strength moves levels rather than
    adding them, at the lowest and highest quality none can move. Our choice.

    Args:
        quality: Base quality in [0, 1].
        saliency: Of each cell in [0, 1], (rows, columns).
        strength: Levels between a cell of saliency 0 and one of saliency 1, at least 0.

    Returns:
        uint8 (rows, columns), 0 .. 63.

    Raises:
        SettingError: A value is out of its range, or not a number.
    """
    if not 0 <= quality <= 1:
        raise SettingError(f"quality must be in [0, 1], got {quality}")
    if not 0 <= strength <= NUM_LEVELS:
        raise SettingError(f"saliency_strength must be in [0, {NUM_LEVELS}], got {strength}")
    saliency = np.asarray(saliency, np.float64)
    if saliency.ndim != 2 or not np.all((saliency >= 0) & (saliency <= 1)):
        raise SettingError("saliency must be (rows, columns) in [0, 1], without NaN")
    alone = torch.tensor([quality], dtype=torch.float64), torch.from_numpy(saliency)[None]
    return allocate_levels_of_batch(*alone, strength)[0].numpy().astype(np.uint8)


def allocate_levels_of_batch(
    quality: Tensor, saliency: Tensor, strength: float, inside: Tensor | None = None
) -> Tensor:
    """:func:`allocate_levels` of several images on their device, without waiting for it.

    Here saliency steers the bits. The offset of an image is found to 40 bits, in 5 steps of 8.

    Args:
        quality: Base quality of each image in [0, 1], float64 (N,), on the saliency's device.
        saliency: Of each cell in [0, 1], float64 (N, rows, columns); 0 beyond an image.
        strength: Levels between a cell of saliency 0 and one of saliency 1.
        inside: 1 where each image has cells, 0 beyond, (N, rows, columns). None is 1 everywhere.

    Returns:
        int64 (N, rows, columns), 0 .. 63; beyond an image they mean nothing.
    """
    wanted = strength * saliency.flatten(1)
    share = None if inside is None else inside.flatten(1).double()
    if share is not None:
        share = (share / share.sum(1, keepdim=True))[:, None]
    base, parts = quality[:, None] * (NUM_LEVELS - 1), 2**8
    low = -wanted.amax(1)
    high = torch.full_like(low, NUM_LEVELS - 1.0)
    trials = torch.arange(1, parts, dtype=low.dtype, device=low.device)
    for _ in range(5):
        step = (high - low) / parts
        offsets = low[:, None] + step[:, None] * trials
        levels = (wanted[:, None] + offsets[..., None]).clamp_(0, NUM_LEVELS - 1)
        means = levels.mean(2) if share is None else levels.mul_(share).sum(2)
        below = (means < base).sum(1)
        low, high = (
            low + step * below,
            torch.where(below == parts - 1, high, low + step * (below + 1)),
        )
    return (wanted + high[:, None]).clamp_(0, NUM_LEVELS - 1).round_().long().view(saliency.shape)


def block_means(saliency: np.ndarray, rows: int, columns: int, side: int) -> np.ndarray:
    """Mean of a map (H, W) over each block of ``side`` x ``side`` pixels of the padded image;
    beyond the image's edge nothing counts, and blocks that lie there as a whole repeat the last
    ones. float64 (rows, columns)."""
    inside = [-(-size // side) for size in saliency.shape]
    row_edges, column_edges = (
        np.minimum(np.arange(n + 1) * side, size) for n, size in zip(inside, saliency.shape)
    )
    sums = np.add.reduceat(
        np.add.reduceat(saliency.astype(np.float64), row_edges[:-1], 0), column_edges[:-1], 1
    )
    means = np.clip(sums / np.outer(np.diff(row_edges), np.diff(column_edges)), 0, 1)
    return np.pad(means, ((0, rows - inside[0]), (0, columns - inside[1])), mode="edge")


class Gain(nn.Module):
    """Positive factors by level and channel.

    Args:
        octaves: Of all channels between level 0 and level 63 before training; negative for a
            falling gain.
    """

    def __init__(self, channels: int, octaves: float):
        super().__init__()
        anchors = torch.linspace(-octaves / 2, octaves / 2, _NUM_ANCHORS)
        self.log2_gain = nn.Parameter(anchors[:, None].repeat(1, channels))

    def forward(self, cell_levels: Tensor, positions: int) -> Tensor:
        """Levels of cells, integer (N, 1, rows, columns), to gains (N, C, h, w) with ``positions``
        a cell along each side.
        """
        low, weight = _place_of_levels(cell_levels.device)
        log2_gain = (
            look_up(self.log2_gain, low) * (1 - weight) + look_up(self.log2_gain, low + 1) * weight
        )
        return spread(
            look_up(torch.exp2(log2_gain), cell_levels[:, 0]).permute(0, 3, 1, 2), positions
        )


def _place_of_levels(device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """For each level the anchor at or below it, (64,), and the weight of the next one, (64, 1)."""
    place = torch.arange(NUM_LEVELS, dtype=torch.float32, device=device) * (
        (_NUM_ANCHORS - 1) / (NUM_LEVELS - 1)
    )
    low = place.floor().clamp(max=_NUM_ANCHORS - 2)
    return low.long(), (place - low)[:, None]


def anchor_weights() -> Tensor:
    """Weight of each anchor of a gain at each level, (64, anchors); those of a level sum to 1."""
    low, weight = _place_of_levels()
    anchors = torch.arange(_NUM_ANCHORS)
    return (anchors == low[:, None]) * (1 - weight) + (anchors == low[:, None] + 1) * weight


def spread(cells: Tensor, positions: int) -> Tensor:
    """What each cell has, (N, C, rows, columns), at ``positions`` places along each of its sides,
    (N, C, h, w).
    """
    return F.interpolate(cells, scale_factor=float(positions), mode="nearest")


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table (n, C), by an integer index (...), as (..., C).

    Its gradient is a product with zeros and ones: that of torch's embedding sorts, which a CUDA
    graph cannot capture.
    """
    if torch.compiler.is_compiling():  # which knows another gradient, that a graph can capture
        return table[index]
    return _LookUp.apply(table, index)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.num_rows = table.shape[0]
        return table[index]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (index,) = ctx.saved_tensors
        chosen = index.flatten() == torch.arange(ctx.num_rows, device=index.device)[:, None]
        with torch.autocast(gradient.device.type, enabled=False):
            return chosen.to(gradient.dtype) @ gradient.flatten(0, -2), None
