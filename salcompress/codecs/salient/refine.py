"""The encoder's search: both latents are refined by stochastic Gumbel annealing before they are
coded.

Yang, Bamler and Mandt, "Improving Inference for Neural Image Compression", NeurIPS 2020
(https://arxiv.org/abs/2006.04240). The analysis is a good guess at the latents of an image, and it
is the same guess for all images. The search starts there and takes steps of Adam down the loss of
this one image. Each value lies between two symbols; during the search it is a random mixture of
both, and the mixture hardens as the temperature falls. Only the encoder knows of the search: the
symbols that come of it are coded as any others, so the format, the decoder and the exactness do not
change.

What is ours: the autoregressive prior is searched through, as in training; large images are
searched tile by tile; and where the search has not lowered the loss of the rounded latents, those
of the analysis stay.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from salcompress.bitstream.format import CELL, MAX_SYMBOL, cells_of
from salcompress.codecs.salient.grouping import CELLS_AT_ONCE
from salcompress.codecs.salient.search_loss import (
    CallersBits,
    PerceptualBits,
    Quantise,
    ReconstructionLoss,
    coded,
    error_bits,
    to_symbols,
)
from salcompress.codecs.salient.tiles import Tile, tiles_of
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.groups import GroupParameters, take_group

USUAL_STEPS = 150
"""Steps of a search whose number nobody gave."""
TILE_CELLS = 144
"""Cells that are searched at once on a CPU, unless they are more only because an image is that
large: then it is cut into tiles. 12x12 cells, 768x768 pixels, take 0.7 GB."""
SEARCHED_AT_ONCE_ON_GPU = 512
"""Cells that are searched at once on a GPU: bounds memory, to 2.5 GB by what they take on a CPU."""

_LEARNING_RATE = 0.02  # falls from half of the steps on, to a tenth
_FULL_SHARE, _LAST_RATE = 0.5, 0.1
_HOTTEST, _COLDEST, _COOLING, _HOT_SHARE = 0.5, 0.01, 1.5, 0.2  # temperatures of the annealing
_LEAST_SHARE = 1e-5  # the probabilities of the two symbols have infinite slopes at 0 and 1
_NOISE_SIDE = 24  # positions of a group after which the noise repeats
_SEED = 20201209


class Search(NamedTuple):
    """What the encoder is to search with, for the images of a batch."""

    num_steps: int
    """At least 1."""
    sizes: Sequence[tuple[int, int]]
    """Height and width of each image in pixels. Errors count inside only; padding costs bits, but
    nobody sees it."""
    saliency: Sequence[np.ndarray] | None = None
    """Map of each image, (H, W) in [0, 1]; squared errors weigh by it as in training. None weighs
    all alike.
    """
    loss: ReconstructionLoss | None = None
    """In place of lambda x (squared error + perceptual distance); for one image."""


def cells_at_once(device: str, effort: int) -> int:
    """Cells of a batch that goes through the networks together, with a search of ``effort`` steps.

    On a CPU an image is searched alone. Batches would not be quicker there, and rounding, which
    depends on the batch, would grow in the search: a stream would depend on the image's neighbours.
    """
    if not effort:
        return CELLS_AT_ONCE
    return 1 if device.startswith("cpu") else SEARCHED_AT_ONCE_ON_GPU


def refine(
    model: CompressionModel,
    images: Tensor,
    cell_levels: Tensor,
    latent: Tensor,
    hyper: Tensor,
    search: Search,
    extent: Extent | None = None,
    mixed_precision: bool = False,
) -> tuple[Tensor, Tensor]:
    """Both latents, real-valued, as the search leaves them.

    The loss of an image in bits has the terms of training: bits from likelihoods, plus lambda of
    each cell times the squared error in 8-bit units and the perceptual distance, with the weights
    :data:`ERROR_WEIGHT` and :data:`PERCEPTUAL_SHARE` over those in training. Both are of the
    reconstruction cut off at [0, 1], as decoding cuts it off. Images do not influence each other,
    and the noise is the same for all of them and in every call.

    Call it with autocast off and products in full precision, as when coding.

    Args:
        model: The codec's networks; neither they nor their gradients change.
        images: uint8 (N, 3, 64 rows, 64 columns), RGB.
        cell_levels: Integer (N, 1, rows, columns).
        latent: As analysed, (N, C, 4 rows, 4 columns).
        hyper: Level 2 as analysed, (N, Z, rows', columns'), its sides even.
        extent: Where the images are, if they are of several numbers of cells.
        mixed_precision: The synthesis in bfloat16, as it is in any case on CPUs that are quicker
            so. Whether the search has helped is judged in full precision.

    Raises:
        SettingError: The caller's loss gave no scalar, no finite number, or no gradient.
    """
    on_cpu = images.device.type == "cpu"
    mixed_precision |= on_cpu and _has_quick_bfloat16()
    # a caller's inference mode forbids gradients for good to all tensors that are made in it
    with torch.inference_mode(False), torch.enable_grad():
        images, cell_levels, latent, hyper = (
            value.clone() for value in (images, cell_levels, latent, hyper)
        )
        if extent is not None:
            extent = Extent(extent.rows.clone(), extent.columns.clone())
        rows, columns = cell_levels.shape[2:]
        if rows * columns <= (TILE_CELLS if on_cpu else SEARCHED_AT_ONCE_ON_GPU):
            whole = _Window(model, images, cell_levels, search, extent, mixed_precision)
            return _anneal(whole, latent, hyper, search.num_steps, tqdm(disable=True))
        for k, size in enumerate(search.sizes):
            rows, columns = cells_of(*size)
            of_image = Search(
                search.num_steps,
                [size],
                None if search.saliency is None else search.saliency[k : k + 1],
                search.loss,
            )
            coarse_rows, coarse_columns = rows + rows % 2, columns + columns % 2
            parts = (
                images[k : k + 1, :, : CELL * rows, : CELL * columns],
                cell_levels[k : k + 1, :, :rows, :columns],
                latent[k : k + 1, :, : 4 * rows, : 4 * columns],
                hyper[k : k + 1, :, :coarse_rows, :coarse_columns],
            )
            _refine_in_tiles(model, *parts, of_image, mixed_precision)
        return latent, hyper


def _has_quick_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16. The synthesis of a step is then three to four times
    quicker.
    """
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _refine_in_tiles(
    model: CompressionModel,
    image: Tensor,
    cell_levels: Tensor,
    latent: Tensor,
    hyper: Tensor,
    search: Search,
    mixed_precision: bool,
) -> None:
    """Refine the latents of one image, in place, tile after tile; each sees those before it as
    refined.
    """
    error_cost = error_bits(
        cell_levels, search.sizes, search.saliency, model.trained_with.saliency_weight
    )
    whole = None
    if search.loss is not None:
        with torch.no_grad():
            whole = coded(model, latent, hyper, cell_levels, to_symbols, None)[1]
    tiles = tiles_of(*cell_levels.shape[2:])
    with tqdm(
        total=len(tiles) * search.num_steps,
        unit="step",
        desc="search",
        leave=False,
        disable=None if len(tiles) > 1 else True,  # None: where standard error is no terminal
    ) as progress:
        for tile in tiles:
            window = _Window(
                model,
                image[tile.window(CELL)],
                cell_levels[tile.window(1)],
                search,
                None,
                mixed_precision,
                error_cost[tile.window(CELL)],
                tile,
                whole,
            )
            fine, coarse = tile.window(4), tile.coarse_window()
            latent[fine], hyper[coarse] = _anneal(
                window, latent[fine], hyper[coarse], search.num_steps, progress
            )


class _Window:
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


def _anneal(
    window: _Window, latent: Tensor, hyper: Tensor, num_steps: int, progress: tqdm
) -> tuple[Tensor, Tensor]:
    """The latents of a window after the search; where it did not help, those it began with.

    "Better" is judged on rounded latents, as they will be coded: what the search minimises is a
    mixture, and few steps, which end before it has hardened, can do harm.
    """
    with torch.no_grad():
        before, reconstruction = window.loss(latent, hyper, to_symbols)
        if window.callers is not None:
            window.callers.shows(reconstruction)
    values = latent.clone().requires_grad_(), hyper.clone().requires_grad_()
    tile = window.tile
    free = [None, None] if tile is None else [tile.free(latent, 4), tile.free(hyper, 1)]
    noise = torch.Generator(latent.device).manual_seed(_SEED)
    adam = torch.optim.Adam(values)
    for step in range(num_steps):
        share = step / num_steps
        temperature = min(
            _HOTTEST, max(_HOTTEST * math.exp(-_COOLING * (share - _HOT_SHARE)), _COLDEST)
        )
        rate = _LEARNING_RATE * min(
            1, _LAST_RATE + (1 - _LAST_RATE) * (1 - share) / (1 - _FULL_SHARE)
        )
        adam.param_groups[0]["lr"] = rate
        loss, _ = window.loss(*values, _mixing(temperature, noise, free), window.mixed_precision)
        for value, gradient in zip(values, torch.autograd.grad(loss.sum(), values)):
            value.grad = gradient
        adam.step()
        progress.update()
    with torch.no_grad():
        after, reconstruction = window.loss(*values, to_symbols)
        better = (after < before)[:, None, None, None]
        if window.callers is not None and better.item():
            window.callers.shows(reconstruction)
        return torch.where(better, values[0], latent), torch.where(better, values[1], hyper)


def _mixing(temperature: float, noise: torch.Generator, free: Sequence[Tensor | None]) -> Quantise:
    """Random mixtures of the two symbols beside each value, at a temperature.

    With f the value's distance from the lower symbol, that one has the logit -atanh(f) /
    temperature and the upper one -atanh(1 - f) / temperature. Both get Gumbel noise, and a softmax
    at the same temperature weighs them. Of two symbols only differences matter: of the logits, one
    logarithm, and of the noise, a logistic variable.

    Args:
        free: Of level 1 and of level 2, where values are mixed; elsewhere they are rounded.
    """

    def quantise(offset: Tensor, group: GroupParameters) -> Tensor:
        low = offset.detach().floor()
        share = (offset - low).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        logit = 0.5 * torch.log((1 + share) * share / ((1 - share) * (2 - share)))
        uniform = _noise_like(offset, noise).clamp_(_LEAST_SHARE, 1 - _LEAST_SHARE)
        upper = torch.sigmoid(((logit / temperature) + torch.logit(uniform)) / temperature)
        mixture = low + upper
        mask = free[group.level - 1]
        if mask is not None:
            mixture = torch.where(
                take_group(mask, group.level, group.index), mixture, offset.detach().round()
            )
        return mixture.clamp(-MAX_SYMBOL, MAX_SYMBOL)

    return quantise


def _noise_like(values: Tensor, noise: torch.Generator) -> Tensor:
    """Numbers in [0, 1) for values (N, C, h, w): the same at a channel and place whatever N, h and
    w.
    """
    height, width = values.shape[2:]
    shape = (values.shape[1], _NOISE_SIDE, _NOISE_SIDE)
    table = torch.rand(shape, generator=noise, dtype=torch.float32, device=values.device)
    return table.repeat(1, -(-height // _NOISE_SIDE), -(-width // _NOISE_SIDE))[:, :height, :width]
