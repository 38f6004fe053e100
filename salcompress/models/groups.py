"""The groups of symbols that are coded at once: where their values lie in the latents.

Groups of level 2: two, a checkerboard. Of level 1: four; group k holds channel quarter c at those
positions whose 2x2 phase is (k - c) mod 4, so that each group sees three quarters or fewer of the
channels at its own place and the rest beside it. Phases and quarters are those of checkerboard and
channel-conditional models (He et al., CVPR 2021; Minnen and Singh, ICIP 2020), arranged by us.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NUM_COARSE_GROUPS, NUM_GROUPS = 2, 4
"""Of level 2 and of level 1."""
_PHASES = ((0, 0), (0, 1), (1, 1), (1, 0))


class GroupParameters(NamedTuple):
    """What the prior says of a group's values, each (N, C', h', w')."""

    level: int
    """1 or 2: of the latent, or of the level-2 latent."""
    index: int  # type: ignore[assignment]  # a tuple's method of that name is not used
    """Number of the group within its level."""
    table: Tensor
    """0 .. 63, integral; in training with a gradient."""
    mean: Tensor
    """Multiples of 1/16."""


CodeGroup = Callable[[GroupParameters], Tensor]
"""Gives a group's values, symbol plus mean, from its parameters."""


def take_group(latent: Tensor, level: int, index: int) -> Tensor:
    """The values of a group, in its own layout, out of a whole latent (N, C, h, w), h and w even;
    differentiable.
    """
    return _taken(latent, _parts(latent.shape[1], level, index))


def take_phase(features: Tensor, row: int, column: int) -> Tensor:
    """Features (N, C, h, w) at one of the four 2x2 phases, (N, C, h / 2, w / 2); differentiable."""
    return _taken(features, [(slice(None), row, column)])


def put_group(latent: Tensor, level: int, index: int, values: Tensor) -> Tensor:
    """A copy of the whole latent with a group's values in their places; differentiable."""
    parts = _parts(latent.shape[1], level, index)
    if torch.compiler.is_compiling():  # see straight_through in integer_layers
        return _put(latent.clone(), values, parts)
    return _Put.apply(latent, values, parts)


Part = tuple[slice, int, int]
"""Channels, and the row and column of the 2x2 phase, of a part of a group."""


def _parts(channels: int, level: int, index: int) -> list[Part]:
    """The parts of a group, in the order in which its channels hold them."""
    if level == 2:
        return [(slice(channels), row, column) for row, column in checkerboard(index)]
    quarter = channels // NUM_GROUPS
    return [
        (slice(c * quarter, (c + 1) * quarter), row, column) for c, (row, column) in quarters(index)
    ]


def _taken(latent: Tensor, parts: Sequence[Part]) -> Tensor:
    if torch.compiler.is_compiling():  # see straight_through in integer_layers
        return _take(latent, parts)
    return _Taken.apply(latent, parts)


def _take(latent: Tensor, parts: Sequence[Part]) -> Tensor:
    pieces = [latent[:, channels, row::2, column::2] for channels, row, column in parts]
    taken = torch.cat(pieces, 1) if len(pieces) > 1 else pieces[0]
    # in which CPUs convolve twice as fast
    return taken.contiguous(memory_format=torch.channels_last)


def _put(latent: Tensor, values: Tensor | float, parts: Sequence[Part]) -> Tensor:
    pieces: Sequence[Tensor | float] = (
        values.chunk(len(parts), 1) if isinstance(values, Tensor) else [values] * len(parts)
    )
    for piece, (channels, row, column) in zip(pieces, parts):
        latent[:, channels, row::2, column::2] = piece
    return latent


class _Taken(torch.autograd.Function):
    """Taking a group: its adjoint puts the gradient into zeros, in one pass where autograd's own
    would make one of each slice of each part.
    """

    @staticmethod
    def forward(ctx, latent: Tensor, parts: Sequence[Part]) -> Tensor:
        ctx.parts, ctx.shape = parts, latent.shape
        return _take(latent, parts)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _put(gradient.new_zeros(ctx.shape), gradient, ctx.parts), None


class _Put(torch.autograd.Function):
    """Putting a group into a copy: the values get the gradient of their places, the latent that of
    all others.
    """

    @staticmethod
    def forward(ctx, latent: Tensor, values: Tensor, parts: Sequence[Part]) -> Tensor:
        ctx.parts = parts
        return _put(latent.clone(), values, parts)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        of_latent = _put(gradient.clone(), 0.0, ctx.parts) if ctx.needs_input_grad[0] else None
        return of_latent, _take(gradient, ctx.parts), None


def checkerboard(index: int) -> tuple[tuple[int, int], ...]:
    """The two 2x2 phases of a level-2 group, in the order of its channel halves."""
    return ((0, 0), (1, 1)) if index == 0 else ((0, 1), (1, 0))


def quarters(index: int) -> list[tuple[int, tuple[int, int]]]:
    """Channel quarter and 2x2 phase of the parts of a level-1 group."""
    return [(c, _PHASES[(index - c) % NUM_GROUPS]) for c in range(NUM_GROUPS)]
