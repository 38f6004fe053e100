"""Quality levels that a training did not draw: their gains and embeddings go on from those that it
did.

A training for low qualities moves the gains of low levels, and the networks with them. Gains of
other levels would stay where they were and no longer fit: in one training for qualities up to 0.5,
rates at quality 1 went from 1.7 to 7 bits per pixel of Kodak images.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.models.integer_layers import LevelEmbedding
from salcompress.models.quality_map import Gain, anchor_weights

_LEAST_SHARE = 1 / 3
"""So the anchor above the highest level drawn counts only where levels near it were drawn."""


class _Rows(NamedTuple):
    """Of a table whose rows belong to levels."""

    levels: Tensor
    """Of each row, float64 (n,), rising."""
    trained: Tensor
    """Which rows were trained, boolean (n,)."""


@torch.no_grad()
def continue_levels(model: nn.Module, start: nn.Module, cells_of_level: Tensor) -> None:
    """Give levels that were not trained the change of those that were, in place.

    A row of a gain or of an embedding changes from ``start`` by what the trained rows beside it
    changed: interpolated between two of them over levels, and beyond the last one as that. An
    anchor of a gain counts as trained if cells gave it at least a third of the share that it would
    have if all levels were drawn alike, and so does a row of an embedding, within the levels of the
    trained anchors. So the highest levels drawn, which lie between a trained anchor and one that is
    not, are continued, too. Our choice.

    Args:
        model: The codec's network after training.
        start: The same before it.
        cells_of_level: Number of cells that had each level in training, (64,). Nothing changes
            where it is zero throughout.
    """
    counts = cells_of_level.detach().cpu().double()
    if not counts.any():
        return
    share = counts / counts.sum()
    anchors = _gain_rows(share)
    embeddings = _embedding_rows(share, anchors)
    for module, before in zip(model.modules(), start.modules(), strict=True):
        if isinstance(module, Gain) and isinstance(before, Gain):
            _continue_rows(module.log2_gain, before.log2_gain, anchors)
        elif isinstance(module, LevelEmbedding) and isinstance(before, LevelEmbedding):
            _continue_rows(module.table, before.table, embeddings)


def _gain_rows(share: Tensor) -> _Rows:
    weights = anchor_weights().double()
    num_anchors = weights.shape[1]
    levels = torch.linspace(0, NUM_LEVELS - 1, num_anchors, dtype=torch.float64)
    return _Rows(levels, share @ weights >= _LEAST_SHARE * weights.mean(0))


def _embedding_rows(share: Tensor, anchors: _Rows) -> _Rows:
    levels = torch.arange(NUM_LEVELS, dtype=torch.float64)
    trained = share >= _LEAST_SHARE / NUM_LEVELS
    reached = anchors.levels[anchors.trained]
    within = trained & (levels >= reached[0]) & (levels <= reached[-1])
    return _Rows(levels, within if within.any() else trained)


def _continue_rows(table: Tensor, before: Tensor, rows: _Rows) -> None:
    """Set the untrained rows of a table, (n, C)."""
    known = rows.trained.nonzero()[:, 0]
    change = (table - before.to(table.device))[known.to(table.device)]
    place = torch.searchsorted(rows.levels[known], rows.levels, right=True)
    low, high = (place - 1).clamp(min=0), place.clamp(max=len(known) - 1)
    gap = rows.levels[known][high] - rows.levels[known][low]
    weight = ((rows.levels - rows.levels[known][low]) / gap.clamp(min=1)).clamp(0, 1)
    weight = weight[:, None].to(table)
    untrained = ~rows.trained.to(table.device)
    low, high = low.to(table.device), high.to(table.device)
    continued = before.to(table.device) + change[low] * (1 - weight) + change[high] * weight
    table[untrained] = continued[untrained]
