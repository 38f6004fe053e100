"""Analysis and synthesis: image to latent and back, and latent to level-2 latent. Float, our own
layout.

Space is folded into channels first (pixel unshuffle), so that all work happens at 1/8 and 1/16 of
the image with 1x1 and depthwise 3x3 convolutions: of the layouts measured it gave the most
reconstruction for its time on a CPU.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.models.batch_extent import Extent
from salcompress.models.full_precision import Conv2d

STRIDE = 16
"""Pixels of the image per position of the latent, along each side."""
KLT_SIDE = 256
"""Of the crops that :func:`initialise_as_klt` looks at."""


class ResidualBlock(nn.Module):
    """A spatial and a channel residual branch, plain ReLU.

    Shape: (N, C, h, w) to the same. ``inside``, (N, 1, h, w), is 0 where the spatial branch is to
        see zeros.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.spatial_in = Conv2d(channels, channels, 1)
        self.spatial = Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.spatial_out = Conv2d(channels, channels, 1)
        self.wide = Conv2d(channels, 2 * channels, 1)
        self.narrow = Conv2d(2 * channels, channels, 1)
        for last in (
            self.spatial_out,
            self.narrow,
        ):  # starts as the identity: training begins from what surrounds it
            nn.init.zeros_(last.weight)
            nn.init.zeros_(cast(Tensor, last.bias))

    @property
    def in_8_bits(self) -> tuple[Conv2d, ...]:
        """Layers whose weights 8 bits are enough for: the 1x1 convolutions.

        What they add to the shortcut is small beside it.
        """
        return self.spatial_in, self.spatial_out, self.wide, self.narrow

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        around = F.relu(self.spatial_in(x))
        x = x + self.spatial_out(
            self.spatial(around if inside is None else around * inside.to(around.dtype))
        )
        return x + self.narrow(F.relu(self.wide(x)))


def run(layers: nn.Sequential, x: Tensor, inside: Tensor | None = None) -> Tensor:
    """A sequence in which residual blocks may be told where the images are."""
    for layer in layers:
        x = layer(x, inside) if isinstance(layer, ResidualBlock) else layer(x)
    return x


class Analysis(nn.Module):
    """Image to latent.

    Args:
        channels_8: At 1/8 of the image.
        channels_16: At 1/16.
        latent_channels: Of the latent.
        blocks_8, blocks_16: Residual blocks at 1/8 and at 1/16.
    """

    def __init__(
        self,
        channels_8: int,
        channels_16: int,
        latent_channels: int,
        blocks_8: int = 3,
        blocks_16: int = 2,
    ):
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(8),
            Conv2d(192, channels_8, 1),
            *(ResidualBlock(channels_8) for _ in range(blocks_8)),
        )
        self.down = nn.Sequential(nn.PixelUnshuffle(2), Conv2d(4 * channels_8, channels_16, 1))
        self.head = nn.Sequential(
            *(ResidualBlock(channels_16) for _ in range(blocks_16)),
            Conv2d(channels_16, latent_channels, 1),
        )

    def forward(self, image: Tensor, feature_gain: Tensor, extent: Extent | None = None) -> Tensor:
        """Image (N, 3, 16h, 16w) in [0, 1] and gain (N, channels_16, h, w) to the latent (N, C, h,
        w).
        """
        fine, coarse = _inside(feature_gain, extent)
        return run(
            self.head, _scaled(self.down(run(self.stem, image - 0.5, fine)), feature_gain), coarse
        )


class Synthesis(nn.Module):
    """Latent to image; arguments as of :class:`Analysis`."""

    def __init__(
        self,
        channels_8: int,
        channels_16: int,
        latent_channels: int,
        blocks_16: int = 2,
        blocks_8: int = 4,
    ):
        super().__init__()
        self.head = nn.Sequential(
            Conv2d(latent_channels, channels_16, 1),
            *(ResidualBlock(channels_16) for _ in range(blocks_16)),
        )
        self.up = nn.Sequential(Conv2d(channels_16, 4 * channels_8, 1), nn.PixelShuffle(2))
        self.tail = nn.Sequential(
            *(ResidualBlock(channels_8) for _ in range(blocks_8)),
            Conv2d(channels_8, 192, 1),
            nn.PixelShuffle(8),
        )

    def forward(self, latent: Tensor, feature_gain: Tensor, extent: Extent | None = None) -> Tensor:
        """Latent (N, C, h, w) and gain (N, channels_16, h, w) to the image (N, 3, 16h, 16w), about
        [0, 1], not clamped.
        """
        fine, coarse = _inside(feature_gain, extent)
        return (
            run(self.tail, self.up(_scaled(run(self.head, latent, coarse), feature_gain)), fine)
            + 0.5
        )


def _scaled(features: Tensor, gain: Tensor) -> Tensor:
    """Features times their gain, in the type of the features."""
    return features * gain.to(features.dtype)


def _inside(at_16: Tensor, extent: Extent | None) -> tuple[Tensor | None, Tensor | None]:
    """Where the images are, at 1/8 and at 1/16."""
    if extent is None:
        return None, None
    height, width = at_16.shape[2:]
    return extent.inside((2 * height, 2 * width), 8), extent.inside((height, width), 4)


@torch.no_grad()
def initialise_as_klt(
    analysis: Analysis, synthesis: Synthesis, images: Sequence[Tensor], gain: float
) -> None:
    """Start both transforms as a Karhunen-Loeve transform of 16x16 blocks and its transpose, the
    best linear codec for the images.

    From random weights a short training on a CPU spends most of its time on learning to be
    invertible. Our choice.

    Args:
        images: uint8 (3, H, W), sides of at least ``KLT_SIDE``.
        gain: Factor of the latent over pixels in [0, 1].
    """
    generator = torch.Generator().manual_seed(3)
    corners = [
        (torch.rand(2, generator=generator) * (torch.tensor(image.shape[1:]) - KLT_SIDE + 1))
        .int()
        .tolist()
        for image in images
    ]
    crops = (
        torch.stack(
            [image[:, y : y + KLT_SIDE, x : x + KLT_SIDE] for image, (y, x) in zip(images, corners)]
        ).float()
        / 255
        - 0.5
    )
    first, last_up = cast(Conv2d, analysis.stem[1]), cast(Conv2d, synthesis.tail[-2])
    basis = _principal_axes(F.pixel_unshuffle(crops, 8), first.out_channels)
    _set(first, basis)
    _set(last_up, basis.T)
    second, up = cast(Conv2d, analysis.down[1]), cast(Conv2d, synthesis.up[0])
    basis = _principal_axes(
        F.pixel_unshuffle(first(F.pixel_unshuffle(crops, 8)), 2), second.out_channels
    )
    _set(second, basis)
    _set(up, basis.T)
    third, back = cast(Conv2d, analysis.head[-1]), cast(Conv2d, synthesis.head[0])
    identity = torch.eye(third.out_channels, second.out_channels, device=basis.device)
    _set(third, gain * identity)
    _set(back, identity.T / gain)


def _principal_axes(features: Tensor, count: int) -> Tensor:
    """Orthonormal rows (count, C) of the largest second moments of features (N, C, h, w)."""
    flat = features.transpose(0, 1).flatten(1).double()
    return (
        torch.linalg.eigh(flat @ flat.T / flat.shape[1]).eigenvectors.flip(1)[:, :count].T.float()
    )


def _set(conv: nn.Conv2d, matrix: Tensor) -> None:
    conv.weight.copy_(matrix[:, :, None, None])
    cast(Tensor, conv.bias).zero_()


class HyperAnalysis(nn.Module):
    """Latent (N, C, h, w) to level-2 latent (N, Z, h/4, w/4); used by the encoder alone."""

    def __init__(self, latent_channels: int, width: int, hyper_channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            Conv2d(4 * latent_channels, width, 1),
            ResidualBlock(width),
            nn.PixelUnshuffle(2),
            Conv2d(4 * width, hyper_channels, 1),
        )

    @property
    def in_8_bits(self) -> tuple[Conv2d, ...]:
        """Layers outside its block whose weights 8 bits are enough for: the 1x1 convolutions.

        No pixel depends on them, since level 2 says only how likely level 1 is.
        """
        return cast(Conv2d, self.body[1]), cast(Conv2d, self.body[4])

    def forward(self, latent: Tensor, extent: Extent | None = None) -> Tensor:
        folded = self.body[0](latent)
        return run(
            self.body[1:],
            folded,
            None if extent is None else extent.inside(folded.shape[2:], 2, even=True),
        )
