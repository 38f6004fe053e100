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

import torch
from torch import Tensor
from tqdm import tqdm

from salcompress.bitstream.format import CELL, cells_of
from salcompress.codecs.salient.annealing import anneal
from salcompress.codecs.salient.grouping import CELLS_AT_ONCE
from salcompress.codecs.salient.search_loss import coded, error_bits, to_symbols
from salcompress.codecs.salient.search_window import Search, Window
from salcompress.codecs.salient.tiles import tiles_of
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.process import has_quick_bfloat16

USUAL_STEPS = 150
"""Steps of a search whose number nobody gave."""
TILE_CELLS = 144
"""Cells that are searched at once on a CPU, unless they are more only because an image is that
large: then it is cut into tiles. 12x12 cells, 768x768 pixels, take 0.7 GB."""
SEARCHED_AT_ONCE_ON_GPU = 512
"""Cells that are searched at once on a GPU: bounds memory, to 2.5 GB by what they take on a CPU."""


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
    mixed_precision |= on_cpu and has_quick_bfloat16()
    # a caller's inference mode forbids gradients for good to all tensors that are made in it
    with torch.inference_mode(False), torch.enable_grad():
        images, cell_levels, latent, hyper = (
            value.clone() for value in (images, cell_levels, latent, hyper)
        )
        if extent is not None:
            extent = Extent(extent.rows.clone(), extent.columns.clone())
        rows, columns = cell_levels.shape[2:]
        if rows * columns <= (TILE_CELLS if on_cpu else SEARCHED_AT_ONCE_ON_GPU):
            whole = Window(model, images, cell_levels, search, extent, mixed_precision)
            return anneal(whole, latent, hyper, search.num_steps, tqdm(disable=True))
        for k in range(len(search.sizes)):
            parts = _one_of_batch(k, search.sizes[k], images, cell_levels, latent, hyper)
            _refine_in_tiles(model, *parts, _search_of_one(search, k), mixed_precision)
        return latent, hyper


def _one_of_batch(
    k: int,
    size: tuple[int, int],
    images: Tensor,
    cell_levels: Tensor,
    latent: Tensor,
    hyper: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What an image of ``size`` (height, width) has in a padded batch, as views: pixels, levels and
    both latents. Level 2 is padded to even sides.
    """
    rows, columns = cells_of(*size)
    return (
        images[k : k + 1, :, : CELL * rows, : CELL * columns],
        cell_levels[k : k + 1, :, :rows, :columns],
        latent[k : k + 1, :, : 4 * rows, : 4 * columns],
        hyper[k : k + 1, :, : rows + rows % 2, : columns + columns % 2],
    )


def _search_of_one(search: Search, k: int) -> Search:
    """The search of one image of a batch."""
    saliency = None if search.saliency is None else search.saliency[k : k + 1]
    return Search(search.num_steps, [search.sizes[k]], saliency, search.loss)


def _refine_in_tiles(
    model: CompressionModel,
    image: Tensor,
    cell_levels: Tensor,
    latent: Tensor,
    hyper: Tensor,
    search: Search,
    mixed_precision: bool,
) -> None:
    """Refine the latents of one image, in place, tile after tile.

    Each tile sees those before it as refined.
    """
    error_cost = error_bits(
        cell_levels, search.sizes, search.saliency, model.trained_with.saliency_weight
    )
    whole = None
    if search.loss is not None:
        with torch.no_grad():
            whole = coded(model, latent, hyper, cell_levels, to_symbols, None)[1]
    tiles = tiles_of(*cell_levels.shape[2:])
    # None disables the bar where standard error is no terminal
    with tqdm(
        total=len(tiles) * search.num_steps,
        unit="step",
        desc="search",
        leave=False,
        disable=None if len(tiles) > 1 else True,
    ) as progress:
        for tile in tiles:
            window = Window(
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
            latent[fine], hyper[coarse] = anneal(
                window, latent[fine], hyper[coarse], search.num_steps, progress
            )
