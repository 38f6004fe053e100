"""Training losses of the codec, each in stated units."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.models.compression_model import ModelOutput
from salcompress.models.quality_map import CELL, NUM_LEVELS

LOWEST_LAMBDA, HIGHEST_LAMBDA = 0.00025, 0.08
"""Weight of squared error, in 8-bit units, against bits per pixel, at level 0 and at level 63."""


class RateDistortion(NamedTuple):
    """Loss and its parts."""

    loss: Tensor
    estimated_bpp: Tensor
    """Bits per pixel from likelihoods."""
    distortion: Tensor
    """Squared error in 8-bit units, weighted by lambda: in bits per pixel, as it enters the loss."""
    psnr: Tensor
    """dB, of the batch."""


def lambda_of(levels: Tensor) -> Tensor:
    """Weight of the squared error at each level, in equal ratios between the ends."""
    return LOWEST_LAMBDA * torch.exp(levels.float() * (math.log(HIGHEST_LAMBDA / LOWEST_LAMBDA) / (NUM_LEVELS - 1)))


def rate_distortion(output: ModelOutput, image: Tensor, cell_levels: Tensor) -> RateDistortion:
    """Bits per pixel + lambda x 255^2 x squared error, lambda by cell.

    An image's loss is scaled by 1 / sqrt(lambda) of its mean level, so that low rates, whose figures are small, train as
    eagerly as high ones. Our choice.

    Args:
        image: (N, 3, H, W) in [0, 1].
        cell_levels: Integer (N, 1, H / 64, W / 64).
    """
    pixels = image.shape[2] * image.shape[3]
    bits = output.estimated_bits_1.sum((1, 2)) + output.estimated_bits_2.sum((1, 2))
    weight = lambda_of(cell_levels).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    squared = (output.reconstruction.float() - image).square().mean(1, keepdim=True) * 255**2
    distortion = (weight * squared).mean((1, 2, 3))
    balance = (lambda_of(torch.tensor(NUM_LEVELS / 2)) / lambda_of(cell_levels.float().mean((1, 2, 3)))).sqrt()
    loss = (balance * (bits / pixels + distortion)).mean()
    psnr = 10 * torch.log10(255**2 / squared.detach().mean().clamp(min=1e-9))
    return RateDistortion(loss, (bits / pixels).mean(), distortion.mean(), psnr)
