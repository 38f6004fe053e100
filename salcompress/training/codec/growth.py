"""A larger model that begins as what a smaller one has learned."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from salcompress.errors import SettingError
from salcompress.models.compression_model import CompressionModel
from salcompress.models.integer_layers import DyadicBlock
from salcompress.models.prior import Level1Step
from salcompress.models.transforms import ResidualBlock


@torch.no_grad()
def grow(small: CompressionModel, large: CompressionModel) -> None:
    """Give a freshly made model the function of a smaller one, so that no training is lost.

    At first new channels reach no old ones, and new residual blocks are the identity. New channels
    keep their random weights from old ones, so that gradients find them. The idea is that of Chen,
    Goodfellow, Shlens, "Net2Net", ICLR 2016 (https://arxiv.org/abs/1511.05641), who copy channels
    where we silence them.

    Args:
        small: The model that has learned. It is left as it is.
        large: The model that is changed in place.

    Raises:
        SettingError: ``large`` is smaller in some respect, or it has other latents. The channels of
            latents have fixed places in the groups of the prior, so they cannot grow.
    """
    before, after = vars(small.config), vars(large.config)
    for name, value in before.items():
        if after[name] < value or (
            name in ("latent_channels", "hyper_channels") and after[name] != value
        ):
            raise SettingError(
                f"a model with {name} {value} cannot grow into one with {after[name]}"
            )
    for old, new in _pairs(small, large):
        _copy(old, new)
    for module in large.modules():
        if isinstance(module, Level1Step):
            for block in module.more_blocks[small.config.prior_blocks - 1 :]:
                _silence(cast(DyadicBlock, block))


def _pairs(small: nn.Module, large: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters of two models that stand for each other.

    In a sequence, residual blocks stand for each other by their order among residual blocks, and
    other layers by their order among the others.
    """
    for name, value in small._parameters.items():
        other = large._parameters[name]
        if value is not None and other is not None:
            yield value, other
    for old, new in zip(small.children(), large.children(), strict=True):
        if isinstance(old, nn.Sequential | nn.ModuleList):
            for blocks in (True, False):
                for pair in zip(_layers(old, blocks), _layers(new, blocks)):
                    yield from _pairs(*pair)
        else:
            yield from _pairs(old, new)


def _layers(sequence: nn.Module, blocks: bool) -> list[nn.Module]:
    """The layers of a sequence that are residual blocks, or those that are none."""
    return [
        layer
        for layer in sequence.children()
        if isinstance(layer, ResidualBlock | DyadicBlock) is blocks
    ]


def _copy(old: Tensor, new: Tensor) -> None:
    """Copy a parameter into the leading channels; what leads from new channels to old becomes 0."""
    leading = tuple(slice(side) for side in old.shape)
    if old.dim() == 4:
        new[: old.shape[0]] = 0
    new[leading] = old


def _silence(block: DyadicBlock) -> None:
    """Make a residual block the identity."""
    nn.init.zeros_(block.out.weight)
    nn.init.zeros_(block.out.bias)
