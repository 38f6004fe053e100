"""A larger model that begins as what a smaller one has learned."""

from collections.abc import Iterator

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

    New channels reach no old ones at first, and new residual blocks begin as the identity. New
    channels keep their random weights from old ones, so that gradients find them. After Chen,
    Goodfellow, Shlens, "Net2Net", ICLR 2016 (https://arxiv.org/abs/1511.05641), who copy channels
    where we silence them.

    Raises:
        SettingError: ``large`` has less of something, or other latents: their channels have fixed
            places in the groups of the prior.
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
                _silence(block)


def _pairs(small: nn.Module, large: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters that stand for each other; residual blocks of a sequence by their order, other
    layers by theirs.
    """
    yield from (
        (value, large._parameters[name])
        for name, value in small._parameters.items()
        if value is not None
    )
    for old, new in zip(small.children(), large.children(), strict=True):
        if isinstance(old, nn.Sequential | nn.ModuleList):
            for kind in (True, False):
                chosen = [
                    [
                        layer
                        for layer in layers
                        if isinstance(layer, ResidualBlock | DyadicBlock) is kind
                    ]
                    for layers in (old, new)
                ]
                for pair in zip(*chosen):
                    yield from _pairs(*pair)
        else:
            yield from _pairs(old, new)


def _copy(old: Tensor, new: Tensor) -> None:
    """Into the leading channels; what leads from new channels to old ones becomes 0."""
    leading = tuple(slice(side) for side in old.shape)
    if old.dim() == 4:
        new[: old.shape[0]] = 0
    new[leading] = old


def _silence(block: DyadicBlock) -> None:
    nn.init.zeros_(block.out.weight)
    nn.init.zeros_(block.out.bias)
