"""What the encoder's search is asked for, and the loss of what it works on at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from salcompress.codecs.salient.search_loss import (
    CallersBits,
    PerceptualBits,
    Quantise,
    ReconstructionLoss,
    coded,
    error_bits,
)
from salcompress.codecs.salient.tiles import Tile
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel


class Search(NamedTuple):
    """What the encoder is to search with, for the images of a batch."""

    num_steps: int
    """How many steps it takes, at least 1."""
    sizes: Sequence[tuple[int, int]]
    """Height and width of each image in pixels. Errors count inside only; padding costs bits, but
    nobody sees it.
    """
    saliency: Sequence[np.ndarray] | None = None
    """Map of each image, (H, W) in [0, 1], by which squared errors weigh, as in training. None
    weighs all alike.
    """
    loss: ReconstructionLoss | None = None
    """What counts in place of lambda x (squared error + perceptual distance), for one image."""


class Window:
    """What is searched at once: the images of a batch, or a tile of one image.

    Args:
        image: uint8 (N, 3, H, W), whole cells.
        error_cost: Bits that a squared error of 1 costs at each pixel, (N, 1, H, W), of a tile.
        tile: None if images are searched as wholes.
        whole: The image's present reconstruction, if a caller's loss is to see it beside the tile.
    """

    def __init__(
        self,
        model: CompressionModel,
        image: Tensor,
        cell_levels: Tensor,
        search: Search,
        extent: Extent | None,
        mixed_precision: bool,
        error_cost: Tensor | None = None,
        tile: Tile | None = None,
        whole: Tensor | None = None,
    ):
        self.model, self.cell_levels, self.extent, self.tile = model, cell_levels, extent, tile
        self.mixed_precision = mixed_precision
        self.image = image.float().div_(255).contiguous()
        self.callers = None
        if search.loss is not None:
            self.callers = CallersBits(search.loss, search.sizes[0], tile, whole)
            return
        if error_cost is None:
            error_cost = error_bits(
                cell_levels, search.sizes, search.saliency, model.trained_with.saliency_weight
            )
        self._error_cost = error_cost
        self._perceptual = PerceptualBits(
            self.image, cell_levels, error_cost > 0, model.trained_with.perceptual_weight
        )

    def loss(
        self, latent: Tensor, hyper: Tensor, quantise: Quantise, mixed_precision: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Loss of each image in bits, (N,), and the reconstruction."""
        bits, reconstruction = coded(
            self.model, latent, hyper, self.cell_levels, quantise, self.extent, mixed_precision
        )
        if self.callers is not None:
            return bits + self.callers(reconstruction), reconstruction
        shown = F.hardtanh(reconstruction, 0, 1)
        squared = F.mse_loss(shown, self.image, reduction="none")
        lacks = (self._error_cost * squared).sum((1, 2, 3)) + self._perceptual(
            shown, mixed_precision
        )
        return bits + lacks, reconstruction
