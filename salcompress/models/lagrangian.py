"""What the codec minimises, in training and when the encoder searches: bits plus lambda times how
the picture suffers, in stated units.

That the reconstruction of salient places weighs more, and that a learned metric judges beside the
squared error, is the paper's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, NUM_LEVELS
from salcompress.models.compression_model import ModelOutput

LOWEST_LAMBDA, HIGHEST_LAMBDA = 0.00025, 0.08
"""Weight of squared error, in 8-bit units, against bits per pixel, at level 0 and at level 63."""


class Perceptual(NamedTuple):
    """A perceptual metric in the loss."""

    distance_map: Callable[[Tensor, Tensor], Tensor]
    """Of images (N, 3, H, W) in [0, 1], where their distance lies, (N, 1, H, W)."""
    weight: float
    """Squared error, in 8-bit units, that a distance of 1 counts as much as."""


class RateDistortion(NamedTuple):
    """Terms of the loss, of each image of a batch (N,), in bits per pixel as they enter it; and
    figures to log.
    """

    rate: Tensor
    """Bits per pixel from likelihoods: estimated, not a rate that was measured."""
    distortion: Tensor
    """Squared error in 8-bit units, weighted by saliency and lambda."""
    perceptual: Tensor
    """Perceptual distance, weighted by lambda and its own weight; 0 without."""
    balance: Tensor
    """What scales each image's terms: 1 / sqrt(lambda) of its mean level, 1 at the middle level, so
    that low rates, whose figures are small, train as eagerly as high ones. Our choice."""
    perceptual_distance: Tensor
    """The distance itself; 0 without."""
    psnr: Tensor
    """dB, without any weight."""

    @property
    def loss(self) -> Tensor:
        """What is minimised, a scalar."""
        return (self.balance * (self.rate + self.distortion + self.perceptual)).mean()


_LOG_RATIO = math.log(HIGHEST_LAMBDA / LOWEST_LAMBDA) / (NUM_LEVELS - 1)
_MIDDLE_LAMBDA = LOWEST_LAMBDA * math.exp(_LOG_RATIO * NUM_LEVELS / 2)


def lambda_of(levels: Tensor) -> Tensor:
    """Weight of the squared error at each level, in equal ratios between the ends."""
    return LOWEST_LAMBDA * torch.exp(levels.float() * _LOG_RATIO)


def saliency_weights(saliency: Tensor, strength: float, inside: Tensor | None = None) -> Tensor:
    """Weight of the squared error at each pixel: 1 + strength x saliency, over its mean in the
    batch, so that strength moves care rather than adding it. That the reconstruction of salient
    places weighs more is the paper's; the form is our choice.

    Args:
        saliency: (N, 1, H, W) in [0, 1].
        strength: At least 0; at 0 all weights are 1.
        inside: 1.0 where each image is, 0.0 where it was padded, (N, 1, H, W): the mean is then of
            each image for itself.
    """
    weight = 1 + strength * saliency
    if inside is None:
        return weight / weight.mean()
    return (
        weight
        * inside.sum((1, 2, 3), keepdim=True)
        / (weight * inside).sum((1, 2, 3), keepdim=True)
    )


def rate_distortion(
    output: ModelOutput,
    image: Tensor,
    cell_levels: Tensor,
    pixel_weight: Tensor | None = None,
    perceptual: Perceptual | None = None,
    inside: Tensor | None = None,
) -> RateDistortion:
    """Bits per pixel + lambda x (255^2 x weighted squared error + weight x perceptual distance),
    lambda by cell.

    Args:
        image: (N, 3, H, W) in [0, 1].
        cell_levels: Integer (N, 1, H / 64, W / 64).
        pixel_weight: Of the squared error, (N, 1, H, W), of mean 1; see :func:`saliency_weights`.
            None is 1 everywhere.
        perceptual: None leaves that term out.
        inside: 1.0 where the image is, 0.0 where it was padded, (N, 1, H, W): padding costs bits,
            but nobody sees it. None is 1 everywhere.
    """
    bits = output.estimated_bits_1.sum((1, 2)) + output.estimated_bits_2.sum((1, 2))
    lambda_ = lambda_of(cell_levels).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    reconstruction = output.reconstruction.float()
    squared = (reconstruction - image).square().mean(1, keepdim=True) * 255**2
    distance = (
        torch.zeros_like(squared)
        if perceptual is None
        else perceptual.distance_map(image, reconstruction)
    )
    pixels = (
        torch.full_like(bits, image.shape[2] * image.shape[3])
        if inside is None
        else inside.sum((1, 2, 3))
    )

    def mean(values: Tensor) -> Tensor:
        return (values if inside is None else values * inside).sum((1, 2, 3)) / pixels

    distortion = mean(lambda_ * (squared if pixel_weight is None else pixel_weight * squared))
    felt = mean(lambda_ * distance) * (0.0 if perceptual is None else perceptual.weight)
    balance = torch.rsqrt(lambda_of(cell_levels.float().mean((1, 2, 3))) / _MIDDLE_LAMBDA)
    psnr = 10 * torch.log10(255**2 / mean(squared.detach()).clamp(min=1e-9))
    return RateDistortion(bits / pixels, distortion, felt, balance, mean(distance), psnr)
