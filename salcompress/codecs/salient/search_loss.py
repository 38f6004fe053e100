"""What the encoder's search minimises: bits, plus what the reconstruction lacks, also in bits."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.bitstream.format import CELL, MAX_SYMBOL
from salcompress.codecs.salient.tiles import Tile
from salcompress.errors import SettingError
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.groups import GroupParameters, take_group
from salcompress.models.lagrangian import lambda_of, saliency_weights

ERROR_WEIGHT = 1.5
"""Weight of the squared error in the search, over that in training; see :data:`PERCEPTUAL_SHARE`.
"""
PERCEPTUAL_SHARE = 0.25
"""Weight of the perceptual distance in the search, over that in training.

The shipped weights were trained with a perceptual weight of 200, beside a squared error of weight
1. A search for squared error alone undoes what that training did for the eye. On crops of four
photographs outside all test sets, 150 steps, rate at equal PSNR and at equal perceptual distance:

===============  =================  =======  ===================
weight of error  perceptual weight  PSNR     perceptual distance
===============  =================  =======  ===================
1.5              0                  -8.0 %   +12.8 %
1.5              50                 -7.6 %   -8.6 %
1.5              100                -7.2 %   -15.1 %
1.2              100                -6.9 %   -17.7 %
1                200                -5.1 %   -24.2 %
===============  =================  =======  ===================
"""

ReconstructionLoss = Callable[[Tensor], Tensor]
"""A caller's loss: bits per pixel, a scalar, of a reconstruction (1, 3, H, W) in [0, 1]."""
Quantise = Callable[[Tensor, GroupParameters], Tensor]
"""Symbols, or mixtures of two of them, of a group's values less their means."""


def to_symbols(offset: Tensor, group: GroupParameters) -> Tensor:
    return offset.round().clamp(-MAX_SYMBOL, MAX_SYMBOL)


def coded(
    model: CompressionModel,
    latent: Tensor,
    hyper: Tensor,
    cell_levels: Tensor,
    quantise: Quantise,
    extent: Extent | None,
    mixed_precision: bool = False,
) -> tuple[Tensor, Tensor]:
    """Estimated bits of each image, (N,), and the reconstruction, (N, 3, H, W), about [0, 1]."""
    bits = []

    def code_group(group: GroupParameters) -> Tensor:
        values = take_group(hyper if group.level == 2 else latent, group.level, group.index)
        symbols = quantise(values - group.mean, group)
        costs = model.estimated_bits(symbols, group.table)
        if extent is not None:
            coarse = group.level == 2
            costs = costs * extent.inside(costs.shape[2:], 0.5 if coarse else 2, even=coarse)
        bits.append(costs.sum((1, 2, 3)))
        return symbols + group.mean

    decoded, _ = model.prior.traverse(cell_levels, code_group, extent)
    decoded = decoded.float().contiguous(memory_format=torch.channels_last)
    with torch.autocast(cell_levels.device.type, torch.bfloat16, enabled=mixed_precision):
        reconstruction = model.synthesise(decoded, cell_levels, extent)
    return torch.stack(bits).sum(0).float(), reconstruction.float()


def error_bits(
    cell_levels: Tensor,
    sizes: Sequence[tuple[int, int]],
    saliency: Sequence[np.ndarray] | None,
    saliency_weight: float,
) -> Tensor:
    """Bits that a squared error of 1, of one sample in [0, 1], costs at each pixel; 0 in the
    padding.

    Args:
        cell_levels: Integer (N, 1, rows, columns).
        sizes: Height and width of each image.
        saliency: Map of each image, (H, W) in [0, 1]; None weighs all alike.
        saliency_weight: How much the maps weigh, as in the training of the networks.

    Returns:
        float32 (N, 1, 64 rows, 64 columns).
    """
    lambdas = lambda_of(cell_levels) * (ERROR_WEIGHT * 255**2 / 3)
    error_cost = lambdas.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    inside = torch.zeros_like(error_cost)
    for within, (height, width) in zip(inside, sizes):
        within[:, :height, :width] = 1
    if saliency is not None:
        salient = torch.zeros_like(error_cost)
        for values, found in zip(salient, saliency):
            height, width = found.shape
            values[0, :height, :width] = torch.from_numpy(found.astype(np.float32)).to(
                error_cost.device
            )
        error_cost *= saliency_weights(salient, saliency_weight, inside)
    return error_cost.mul_(inside)


class PerceptualBits:
    """Bits that perceptual distance costs: lambda of each cell times weight times the distance
    there.

    As in training, but the learned metric's layers count at their own sizes, not enlarged.

    Args:
        image: (N, 3, H, W) in [0, 1], whole cells.
        inside: Where the images are, bool (N, 1, H, W); what lies beyond is taken from ``image``.
        trained_weight: Perceptual weight in the training of the networks.
    """

    def __init__(self, image: Tensor, cell_levels: Tensor, inside: Tensor, trained_weight: float):
        self._metric = _metric(str(image.device))
        self._image, self._inside = image, inside
        self._lambdas = lambda_of(cell_levels) * (PERCEPTUAL_SHARE * trained_weight)
        with torch.no_grad():
            self._features = self._metric.features(image)

    def __call__(self, reconstruction: Tensor, mixed_precision: bool) -> Tensor:
        """(N,); reconstructions are in [0, 1]."""
        seen = torch.where(self._inside, reconstruction, self._image)
        with torch.autocast(seen.device.type, torch.bfloat16, enabled=mixed_precision):
            features = self._metric.features(seen.contiguous(memory_format=torch.channels_last))
            maps = self._metric.compare(self._features, features)
        bits = []
        for layer in maps:
            stride = self._image.shape[2] // layer.shape[2]
            in_cells = F.avg_pool2d(layer.float(), CELL // stride)
            bits.append((self._lambdas * in_cells).sum((1, 2, 3)) * CELL**2)
        return torch.stack(bits).sum(0)


@functools.cache
def _metric(device: str) -> PerceptualMetric:
    return PerceptualMetric.load(device=device)


class CallersBits:
    """Bits that a caller's loss says.

    Args:
        loss: Sees the whole reconstruction, also where only a tile of it is searched.
        size: Height and width of the image.
        whole: The image's present reconstruction, if only a tile is searched; it is kept up to
            date.
    """

    def __init__(
        self,
        loss: ReconstructionLoss,
        size: tuple[int, int],
        tile: Tile | None = None,
        whole: Tensor | None = None,
    ):
        self._loss, self._size, self._tile, self._whole = loss, size, tile, whole

    def shows(self, reconstruction: Tensor) -> None:
        """From now on the image has this reconstruction in the tile."""
        if self._tile is not None and self._whole is not None:
            within, place = self._tile.shown()
            self._whole[place] = reconstruction[within]

    def _seen(self, reconstruction: Tensor) -> Tensor:
        """The whole reconstruction, of the image's size, in [0, 1]."""
        if self._tile is not None and self._whole is not None:
            (within, place), part = self._tile.shown(), reconstruction
            reconstruction = self._whole.clone()
            reconstruction[place] = part[within]
        height, width = self._size
        return reconstruction[:, :, :height, :width].clamp(0, 1)

    def __call__(self, reconstruction: Tensor) -> Tensor:
        """In bits, (1,). The gradient is checked before the codec's own is computed.

        Raises:
            SettingError: The loss gave no scalar, no finite number, or no gradient.
        """
        num_pixels = self._size[0] * self._size[1]
        with torch.enable_grad():
            leaf = reconstruction.detach().requires_grad_()
            value = self._loss(self._seen(leaf))
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
                came = (
                    f"a tensor {tuple(value.shape)} of {value.dtype}"
                    if isinstance(value, Tensor)
                    else type(value).__name__
                )
                raise SettingError(
                    f"loss must return a scalar tensor of floats, bits per pixel, got {came}; "
                    "take the mean of a map"
                )
            value = value.reshape(())
            if not value.isfinite():
                raise SettingError(
                    f"loss must return a finite number, got {value.item()}; it was given a "
                    "reconstruction in [0, 1]"
                )
            if not reconstruction.requires_grad:  # the loss is looked at, not searched
                return value.detach().float().reshape(1) * num_pixels
            gradient = (
                torch.autograd.grad(value, leaf, allow_unused=True)[0]
                if value.requires_grad
                else None
            )
            if gradient is None:
                raise SettingError(
                    "loss has no gradient with respect to the reconstruction: compute it from "
                    "its argument by differentiable operations of torch, without detach, "
                    "no_grad, rounding to integers or NumPy"
                )
            if not gradient.isfinite().all():
                raise SettingError(
                    "the gradient of loss is not finite; a square root of 0 has none, for "
                    "example: add a small number under it"
                )
        slope = (
            (reconstruction - leaf.detach()) * gradient
        ).sum()  # 0, with the gradient of the loss
        return (value.detach() + slope).float().reshape(1) * num_pixels
