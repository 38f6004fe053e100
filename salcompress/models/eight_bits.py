"""Weights of a convolution in 8 bits, as multiples of a step for each output channel.

A weight is ``code * step``, with a code from -127 to 127. The step of a channel is its largest
magnitude over 127, in bfloat16: seven bits times eight fit a float32, so every product is exact,
and a tensor that was rounded once is not changed by being rounded again. Our choice.
"""

import torch
from torch import Tensor

_LARGEST_CODE = 127
_SMALLEST_STEP = 1e-30
"""Of a channel that is zero, which has a step all the same."""


def to_eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and steps of a weight.

    >>> codes, steps = to_eight_bits(torch.tensor([[0.5, -1.0], [0.0, 0.0]]))
    >>> codes.tolist(), torch.equal(to_eight_bits(from_eight_bits(codes, steps))[0], codes)
    ([[64, -127], [0, 0]], True)

    Args:
        weight: Real-valued (C, ...), the output channels first. What is not finite makes its whole
            channel not a number.

    Returns:
        Codes, int8 (C, ...), and steps, bfloat16 (C,).
    """
    weight = weight.float()
    largest = weight.abs().flatten(1).amax(1)
    steps = (largest / _LARGEST_CODE).clamp(min=_SMALLEST_STEP).bfloat16()
    steps = torch.where(torch.isfinite(largest), steps, torch.nan)
    codes = (weight / _of_channels(steps, weight)).round()
    return codes.nan_to_num().clamp(-_LARGEST_CODE, _LARGEST_CODE).to(torch.int8), steps


def from_eight_bits(codes: Tensor, steps: Tensor) -> Tensor:
    """The weight that codes and steps stand for, float32, of the codes' shape."""
    return codes.float() * _of_channels(steps, codes)


def _of_channels(steps: Tensor, like: Tensor) -> Tensor:
    """Steps (C,) as float32 (C, 1, ...), to go with (C, ...)."""
    return steps.float().reshape(-1, *[1] * (like.dim() - 1))
