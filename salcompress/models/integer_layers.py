"""Layers that compute with integers in floating-point carriers, so that every machine gets the same
result.

A value k * 2^-b with a small integer k behaves as that integer: sums and products are exact in any
order, on any device, as long as they stay below the carrier's mantissa. Weights lie on 2^-9 in [-1,
1], activations on 2^-5, biases and accumulators on 2^-14; each layer ends with floor(a * 2^5 + 1/2)
* 2^-5 and a clamp. Only 1x1 and depthwise 3x3 convolutions are used: for dense spatial ones a
library may choose a transform (Winograd, FFT) whose numbers are no integers. Training runs the same
layers with straight-through gradients.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from salcompress.errors import DataError
from salcompress.models.full_precision import convolve
from salcompress.models.quality_map import look_up

WEIGHT_STEPS, ACTIVATION_STEPS = 2**9, 2**5
HIDDEN_MAX = 255 / ACTIVATION_STEPS
"""Largest hidden activation, after a ReLU."""
RESIDUAL_MAX = 511 / ACTIVATION_STEPS
"""Largest magnitude on the residual stream, and of inputs."""
_BIAS_STEPS = WEIGHT_STEPS * ACTIVATION_STEPS


class _OnGrid(torch.autograd.Function):
    """Onto the activations' grid, cut off at ``low`` and ``high``; the gradient of the identity
    between them, and none at them or beyond.

    ``x`` itself is changed: most of the prior's time is passes over memory, and what comes here is
    a fresh accumulator.
    """

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.mark_dirty(x)
        _to_grid(x, low, high)
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (x,) = ctx.saved_tensors
        return gradient * ((x > ctx.low) & (x < ctx.high)), None, None


class _Rounded(torch.autograd.Function):
    """floor(x * steps + 1/2) / steps, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x: Tensor, steps: int) -> Tensor:
        return _rounded(x, steps)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient, None


def straight_through(x: Tensor, value: Tensor, passes: Tensor | None = None) -> Tensor:
    """A value with the gradient of ``x``, where ``passes``, in operations that any compiler knows.

    The functions with gradients of their own in this package save passes over memory where each
    operation is a pass. A compiler fuses operations itself. In torch 2.11 it dropped the gradients
    of such functions without a word, so what is compiled goes without them.
    """
    change = x - x.detach()
    return value.detach() + (change if passes is None else change * passes)


def _rounded(x: Tensor, steps: int) -> Tensor:
    return (x * steps).add_(0.5).floor_().div_(steps)


def _to_grid(x: Tensor, low: float, high: float) -> Tensor:
    return x.mul_(ACTIVATION_STEPS).add_(0.5).floor_().div_(ACTIVATION_STEPS).clamp_(low, high)


def round_to(x: Tensor, steps: int) -> Tensor:
    """The nearest multiple of 1 / steps, halves upwards, with the gradient of the identity."""
    if torch.compiler.is_compiling():
        return straight_through(x, _rounded(x, steps))
    return _Rounded.apply(x, steps)


def to_grid(x: Tensor, low: float, high: float) -> Tensor:
    """Round to the activations' grid and cut off; gradients pass between the ends. ``x`` itself is
    changed.
    """
    if torch.compiler.is_compiling():
        value = _to_grid(x.clone(), low, high)
        return straight_through(x, value, (value > low) & (value < high))
    if torch.is_grad_enabled() and x.requires_grad:
        return _OnGrid.apply(x, low, high)
    return _to_grid(x, low, high)


def relu(x: Tensor) -> Tensor:
    """ReLU onto the grid, [0, 255/32]."""
    return to_grid(x, 0.0, HIDDEN_MAX)


def residual(x: Tensor) -> Tensor:
    """Onto the grid of the residual stream, [-511/32, 511/32]."""
    return to_grid(x, -RESIDUAL_MAX, RESIDUAL_MAX)


class DyadicConv(nn.Module):
    """A 1x1 or a depthwise 3x3 convolution on the grid; gives the accumulator, which the caller
    rounds.

    Args:
        in_channels, out_channels: Equal for a depthwise one.
        input_max: Largest magnitude of its input: ``HIDDEN_MAX`` or ``RESIDUAL_MAX``.
        depthwise: 3x3 within each channel, padded with zeros.
    """

    def __init__(
        self, in_channels: int, out_channels: int, input_max: float, depthwise: bool = False
    ):
        super().__init__()
        self.depthwise, self.input_steps = depthwise, round(input_max * ACTIVATION_STEPS)
        self.groups = in_channels if depthwise else 1
        shape = (out_channels, 1, 3, 3) if depthwise else (out_channels, in_channels, 1, 1)
        fan_in = 9 if depthwise else in_channels
        self.weight = nn.Parameter(torch.randn(shape) * (1 / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self._rounded: tuple[Tensor, Tensor] | None = None

    @property
    def room(self) -> float:
        """Largest sum of magnitudes of weights times inputs, and of a bias, with a margin: what
        rounding adds, half a step for each weight and some for the bias and the result, is taken
        off."""
        rounding = self.weight[0].numel() / (2 * WEIGHT_STEPS) * self.input_steps / ACTIVATION_STEPS
        return 0.999 * (2**24 / _BIAS_STEPS - 2 - rounding)

    def integers(self) -> tuple[Tensor, Tensor]:
        """Weights and biases as the integers that they stand for, float64."""
        weight = torch.floor(self.weight.detach().double().clamp(-1, 1) * WEIGHT_STEPS + 0.5)
        return weight, torch.floor(self.bias.detach().double() * _BIAS_STEPS + 0.5)

    def largest_sum(self) -> Tensor:
        """Largest magnitude that any partial sum can reach, as an integer, by output channel."""
        weight, bias = self.integers()
        # the last for the rounding
        return weight.abs().sum((1, 2, 3)) * self.input_steps + bias.abs() + _BIAS_STEPS

    def train(self, mode: bool = True) -> "DyadicConv":
        """Training may change the weights: what was frozen no longer holds."""
        if mode and hasattr(self, "_frozen"):
            del self._frozen
        return super().train(mode)

    def freeze(self, carrier: torch.dtype) -> None:
        """Fix the quantised weights in the carrier that coding computes in.

        Raises:
            DataError: A partial sum could leave the carrier's mantissa: the weights are damaged or
                were not projected.
        """
        largest = self.largest_sum().max().item()
        limit = 2**24 if carrier == torch.float32 else 2**53
        if not largest < limit:  # also if it is NaN
            raise DataError(
                f"weights of the prior are out of bounds: a sum could reach {largest:g}, above "
                f"{limit}"
            )
        weight, bias = self.integers()
        self._frozen = (weight / WEIGHT_STEPS).to(carrier), (bias / _BIAS_STEPS).to(carrier)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not hasattr(self, "_frozen"):
            weight, bias = self._rounded or _RoundedTogether.apply(1, self.weight, self.bias)
        else:
            weight, bias = (value.to(x.device) for value in self._frozen)
        padding = (1, 1) if self.depthwise else (0, 0)
        return convolve(x, weight, bias, padding=padding, groups=self.groups)


class _RoundedTogether(torch.autograd.Function):
    """Weights, cut off at +-1, and then biases, as many of each as ``count`` says, on their grids,
    with the gradient of the identity.
    """

    @staticmethod
    def forward(ctx, count: int, *values: Tensor) -> tuple[Tensor, ...]:
        steps = [WEIGHT_STEPS] * count + [_BIAS_STEPS] * count
        rounded = list(torch._foreach_mul(values, steps))
        torch._foreach_add_(rounded, 0.5)
        torch._foreach_floor_(rounded)
        torch._foreach_div_(rounded, steps)
        torch._foreach_clamp_min_(rounded[:count], -1.0)
        torch._foreach_clamp_max_(rounded[:count], 1.0)
        return tuple(rounded)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        return None, *gradients


def _rounded_parameter(value: Tensor, is_weight: bool) -> Tensor:
    steps = WEIGHT_STEPS if is_weight else _BIAS_STEPS
    rounded = _rounded(value, steps)
    return straight_through(value, rounded.clamp_(-1.0, 1.0) if is_weight else rounded)


@contextlib.contextmanager
def rounded_together(layers: Sequence[DyadicConv]) -> Iterator[None]:
    """Within, layers in training use weights that were put on their grid once, in a handful of
    operations for all of them.
    """
    values = [*(layer.weight for layer in layers), *(layer.bias for layer in layers)]
    rounded = (
        tuple(map(_rounded_parameter, values, [True] * len(layers) + [False] * len(layers)))
        if torch.compiler.is_compiling()
        else _RoundedTogether.apply(len(layers), *values)
    )
    for layer, weight, bias in zip(layers, rounded, rounded[len(layers) :]):
        layer._rounded = weight, bias
    try:
        yield
    finally:
        for layer in layers:
            layer._rounded = None


@torch.no_grad()
def project(layers: Sequence[DyadicConv]) -> None:
    """Bring weights back within [-1, 1], and channels whose sums could leave the carrier back
    within it.

    In float32, since training does it after each step: 0.1 % of the carrier is kept free for what
    that rounds.
    """
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers]
    torch._foreach_clamp_min_(weights, -1.0)
    torch._foreach_clamp_max_(weights, 1.0)
    sums = [size.sum((1, 2, 3)) for size in torch._foreach_abs(weights)]
    torch._foreach_mul_(sums, [layer.input_steps / ACTIVATION_STEPS for layer in layers])
    torch._foreach_add_(sums, list(torch._foreach_abs(biases)))
    scales = list(torch._foreach_reciprocal(sums))
    torch._foreach_mul_(scales, [layer.room for layer in layers])
    torch._foreach_clamp_max_(scales, 1.0)
    for weight, scale in zip(weights, scales):
        weight.mul_(scale[:, None, None, None])
    torch._foreach_mul_(biases, scales)


class DyadicBlock(nn.Module):
    """Residual block on the grid: 1x1, ReLU, depthwise 3x3, ReLU, 1x1, added to the input. (N, C,
    h, w) to the same.

    ``inside``, (N, 1, h, w), is 0 where the depthwise convolution is to see zeros.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mix = DyadicConv(channels, channels, RESIDUAL_MAX)
        self.spatial = DyadicConv(channels, channels, HIDDEN_MAX, depthwise=True)
        self.out = DyadicConv(channels, channels, HIDDEN_MAX)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        around = relu(self.mix(x))
        return residual(
            x + self.out(relu(self.spatial(around if inside is None else around * inside)))
        )


class LevelEmbedding(nn.Module):
    """A vector on the residual grid for each quality level."""

    def __init__(self, num_levels: int, channels: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_levels, channels))

    def forward(self, levels: Tensor) -> Tensor:
        """Integer (N, 1, h, w) to (N, C, h, w)."""
        return residual(look_up(self.table, levels[:, 0])).permute(0, 3, 1, 2)
