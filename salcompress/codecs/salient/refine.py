"""The encoder's search: both latents are refined by stochastic Gumbel annealing before they are coded.

Yang, Bamler and Mandt, "Improving Inference for Neural Image Compression", NeurIPS 2020
(https://arxiv.org/abs/2006.04240). The analysis is a good guess at the latents of an image, and it is
the same guess for all images. The search starts there and takes steps of Adam down the loss of this
one image. Each value lies between two symbols; during the search it is a random mixture of both, and
the mixture hardens as the temperature falls. Only the encoder knows of the search: the symbols that
come of it are coded as any others, so the format, the decoder and the exactness do not change.

What is ours: the autoregressive prior is searched through, as in training; large images are searched
tile by tile; and where the search has not lowered the loss of the rounded latents, those of the
analysis stay.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from salcompress.codecs.salient.grouping import CELLS_AT_ONCE, cells_of
from salcompress.errors import SettingError
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.compression_model import CompressionModel
from salcompress.models.extent import Extent
from salcompress.models.lagrangian import lambda_of, saliency_weights
from salcompress.models.prior import MAX_SYMBOL, GroupParameters, take_group
from salcompress.models.quality_map import CELL

USUAL_STEPS = 150
"""Steps of a search whose number nobody gave."""
ERROR_WEIGHT = 1.5
"""Weight of the squared error in the search, over that in training; see :data:`PERCEPTUAL_WEIGHT`."""
PERCEPTUAL_WEIGHT = 50.0
"""Squared error, in 8-bit units, that a perceptual distance of 1 counts as much as.

The shipped weights were trained with 200, beside a squared error of weight 1. A search for squared
error alone undoes what that training did for the eye. On crops of four photographs outside all test
sets, 150 steps, rate at equal PSNR and at equal perceptual distance:

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
SALIENCY_WEIGHT = 1.5
"""Strength of :func:`~salcompress.models.lagrangian.saliency_weights` with which the shipped weights
were trained (``salcompress/weights/codec.md``)."""
TILE_CELLS = 144
"""Cells that are searched at once on a CPU, unless they are more only because an image is that large:
then it is cut into tiles. 12x12 cells, 768x768 pixels, take 0.7 GB."""
TILE_SIDE = 10
"""Most cells along the side of a tile's core, which is what the tile may change. One cell around the
core, as far as the synthesis sees, belongs to the tile too and stays as it is."""
SEARCHED_AT_ONCE_ON_GPU = 512
"""Cells that are searched at once on a GPU: bounds memory, to 2.5 GB by what they take on a CPU."""

_LEARNING_RATE, _FULL_SHARE, _LAST_RATE = (
    0.02,
    0.5,
    0.1,
)  # falls from half of the steps on, to a tenth
_FIRST_DECAY, _SECOND_DECAY, _SMALLEST = 0.9, 0.999, 1e-8  # of Adam
_HOTTEST, _COLDEST, _COOLING, _HOT_SHARE = 0.5, 0.01, 1.5, 0.2  # temperatures of the annealing
_EDGE = 1e-5  # the probabilities of the two symbols have infinite slopes at 0 and 1
_NOISE_SIDE = 24  # positions of a group after which the noise repeats
_SEED = 20201209

ReconstructionLoss = Callable[[Tensor], Tensor]
"""A caller's loss: bits per pixel, a scalar, of a reconstruction (1, 3, H, W) in [0, 1]."""


class Search(NamedTuple):
    """What the encoder is to search with, for the images of a batch."""

    num_steps: int
    """At least 1."""
    sizes: Sequence[tuple[int, int]]
    """Height and width of each image in pixels. Errors count inside only; padding costs bits, but
    nobody sees it."""
    saliency: Sequence[np.ndarray] | None = None
    """Map of each image, (H, W) in [0, 1]; squared errors weigh by it as in training. None weighs all alike."""
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

    The loss of an image in bits has the terms of training: bits from likelihoods, plus lambda of each
    cell times the squared error in 8-bit units and the perceptual distance, with the weights
    :data:`ERROR_WEIGHT` and :data:`PERCEPTUAL_WEIGHT`. Both are of the reconstruction cut off at
    [0, 1], as decoding cuts it off. Images do not influence each other, and the noise is the same for
    all of them and in every call.

    Call it with autocast off and products in full precision, as when coding.

    Args:
        model: The codec's networks; neither they nor their gradients change.
        images: uint8 (N, 3, 64 rows, 64 columns), RGB.
        cell_levels: Integer (N, 1, rows, columns).
        latent: As analysed, (N, C, 4 rows, 4 columns).
        hyper: Level 2 as analysed, (N, Z, rows', columns'), its sides even.
        extent: Where the images are, if they are of several numbers of cells.
        mixed_precision: The synthesis in bfloat16, as it is in any case on CPUs that are quicker so.
            Whether the search has helped is judged in full precision.

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
            care = _care(cell_levels, search)
            whole = _Window(model, images, cell_levels, care, search, extent, mixed_precision)
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
    """Whether this CPU multiplies in bfloat16. The synthesis of a step is then three to four times quicker."""
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
    """Refine the latents of one image, in place, tile after tile; each sees those before it as refined."""
    care = _care(cell_levels, search)
    whole = None
    if search.loss is not None:
        with torch.no_grad():
            whole = _pass(model, latent, hyper, cell_levels, _round, None)[1]
    tiles = [
        (down, across)
        for down in _parts(cell_levels.shape[2])
        for across in _parts(cell_levels.shape[3])
    ]
    steps = len(tiles) * search.num_steps
    # None: where standard error is no terminal, there is no bar
    with tqdm(
        total=steps,
        unit="step",
        desc="search",
        leave=False,
        disable=None if len(tiles) > 1 else True,
    ) as progress:
        for down, across in tiles:
            at = {
                side: (..., *(slice(side * p.start, side * p.end) for p in (down, across)))
                for side in (1, 4, CELL)
            }
            at_coarse = (
                ...,
                *(slice(p.start, p.end + (p.end - p.start) % 2) for p in (down, across)),
            )
            window = _Window(
                model,
                image[at[CELL]],
                cell_levels[at[1]],
                care[at[CELL]],
                search,
                None,
                mixed_precision,
                core=(down, across),
                whole=whole,
            )
            latent[at[4]], hyper[at_coarse] = _anneal(
                window, latent[at[4]], hyper[at_coarse], search.num_steps, progress
            )


class _Part(NamedTuple):
    """Cells along one side of a tile."""

    start: int
    """Even, so that a tile's level-2 groups are those of the image."""
    core_start: int
    core_end: int
    end: int


def _parts(num_cells: int) -> list[_Part]:
    """Cores of at most about :data:`TILE_SIDE` cells that cover a side, each with a cell on both sides.

    >>> [tuple(part) for part in _parts(21)]
    [(0, 0, 7, 8), (6, 7, 15, 16), (14, 15, 21, 21)]
    """
    count = -(-num_cells // TILE_SIDE)
    bounds = [0, *(k * num_cells // count | 1 for k in range(1, count)), num_cells]
    return [
        _Part(max(start - 1, 0), start, end, min(end + 1, num_cells))
        for start, end in zip(bounds, bounds[1:])
    ]


Quantise = Callable[[Tensor, GroupParameters], Tensor]
"""Symbols, or mixtures of two of them, of a group's values less their means."""


def _round(offset: Tensor, group: GroupParameters) -> Tensor:
    return offset.round().clamp(-MAX_SYMBOL, MAX_SYMBOL)


def _pass(
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


class _PerceptualBits:
    """Bits that perceptual distance costs: lambda of each cell times weight times the distance there.

    As in training, but the learned metric's layers count at their own sizes, not enlarged.

    Args:
        image: (N, 3, H, W) in [0, 1], whole cells.
        inside: Where the images are, bool (N, 1, H, W); what lies beyond is taken from ``image``.
    """

    def __init__(self, image: Tensor, cell_levels: Tensor, inside: Tensor):
        self._metric = _metric(str(image.device))
        self._image, self._inside = image, inside
        self._lambdas = lambda_of(cell_levels) * PERCEPTUAL_WEIGHT
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


class _Window:
    """What is searched at once: the images of a batch, or a tile of one image.

    Args:
        image: uint8 (N, 3, H, W), whole cells.
        care: Bits that a squared error of 1 costs at each pixel, (N, 1, H, W).
        core: Of a tile, down and across: what lies around it is fixed.
        whole: The image's present reconstruction, if a caller's loss wants to see it; it is kept up
            to date.
    """

    def __init__(
        self,
        model: CompressionModel,
        image: Tensor,
        cell_levels: Tensor,
        care: Tensor,
        search: Search,
        extent: Extent | None,
        mixed_precision: bool,
        core: tuple[_Part, _Part] | None = None,
        whole: Tensor | None = None,
    ):
        self.model, self.cell_levels, self.care, self.extent = model, cell_levels, care, extent
        self.mixed_precision, self.core, self.whole = mixed_precision, core, whole
        self.image = image.float().div_(255).contiguous()
        self._loss, self._size = search.loss, search.sizes[0]
        if search.loss is None:
            self._perceptual = _PerceptualBits(self.image, cell_levels, care > 0)

    def free(self, like: Tensor, per_cell: int) -> Tensor | None:
        """Whether the search may change a value, bool (1, C, h, w); None where it may change all."""
        if self.core is None:
            return None
        free = torch.zeros_like(like[:1], dtype=torch.bool)
        down, across = (
            slice(
                per_cell * (p.core_start - p.start),
                per_cell * (p.core_end - p.start) if p.core_end < p.end else None,
            )
            for p in self.core
        )
        free[..., down, across] = True
        return free

    def loss(
        self, latent: Tensor, hyper: Tensor, quantise: Quantise, mixed_precision: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Loss of each image in bits, (N,), and the reconstruction."""
        bits, reconstruction = _pass(
            self.model, latent, hyper, self.cell_levels, quantise, self.extent, mixed_precision
        )
        if self._loss is not None:
            return bits + self._by_caller(reconstruction), reconstruction
        shown = F.hardtanh(reconstruction, 0, 1)
        squared = F.mse_loss(shown, self.image, reduction="none")
        return bits + (self.care * squared).sum((1, 2, 3)) + self._perceptual(
            shown, mixed_precision
        ), reconstruction

    def shows(self, reconstruction: Tensor) -> None:
        """From now on the image has this reconstruction here."""
        if self.whole is not None:
            within, place = self._shown()
            self.whole[place] = reconstruction[within]

    def _shown(self) -> tuple[tuple, tuple]:
        """What of a tile's reconstruction is shown, and where in the image: its core and half a cell
        around it. Beyond that the reconstruction lacks too much of what lies around the tile."""
        half = CELL // 2
        edges = [
            (
                max(CELL * p.core_start - half, CELL * p.start),
                min(CELL * p.core_end + half, CELL * p.end),
                CELL * p.start,
            )
            for p in self.core
        ]
        return (
            (..., *(slice(start - first, end - first) for start, end, first in edges)),
            (..., *(slice(start, end) for start, end, _ in edges)),
        )

    def _seen(self, reconstruction: Tensor) -> Tensor:
        """The whole reconstruction, of the image's size, in [0, 1]."""
        if self.whole is not None:
            (within, place), tile = self._shown(), reconstruction
            reconstruction = self.whole.clone()
            reconstruction[place] = tile[within]
        height, width = self._size
        return reconstruction[:, :, :height, :width].clamp(0, 1)

    def _by_caller(self, reconstruction: Tensor) -> Tensor:
        """The caller's loss in bits, (1,); its gradient is checked before the codec's is computed."""
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


def _care(cell_levels: Tensor, search: Search) -> Tensor:
    """Bits that a squared error of 1, of one sample in [0, 1], costs at each pixel; 0 in the padding.

    Args:
        cell_levels: Integer (N, 1, rows, columns).

    Returns:
        float32 (N, 1, 64 rows, 64 columns).
    """
    lambdas = lambda_of(cell_levels) * (ERROR_WEIGHT * 255**2 / 3)
    care = lambdas.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    inside = torch.zeros_like(care)
    for within, (height, width) in zip(inside, search.sizes):
        within[:, :height, :width] = 1
    if search.saliency is not None:
        salient = torch.zeros_like(care)
        for values, saliency in zip(salient, search.saliency):
            height, width = saliency.shape
            values[0, :height, :width] = torch.from_numpy(saliency.astype(np.float32)).to(
                care.device
            )
        care *= saliency_weights(salient, SALIENCY_WEIGHT, inside)
    return care.mul_(inside)


def _anneal(
    window: _Window, latent: Tensor, hyper: Tensor, num_steps: int, progress: tqdm
) -> tuple[Tensor, Tensor]:
    """The latents of a window after the search; where it did not help, those it began with.

    "Better" is judged on rounded latents, as they will be coded: what the search minimises is a
    mixture, and few steps, which end before it has hardened, can do harm.
    """
    with torch.no_grad():
        before, reconstruction = window.loss(latent, hyper, _round)
        window.shows(reconstruction)
    values = [latent.clone().requires_grad_(), hyper.clone().requires_grad_()]
    free = [window.free(latent, 4), window.free(hyper, 1)]
    noise = torch.Generator(latent.device).manual_seed(_SEED)
    first, second = ([torch.zeros_like(value) for value in values] for _ in range(2))
    for step in range(num_steps):
        share = step / num_steps
        temperature = min(
            _HOTTEST, max(_HOTTEST * math.exp(-_COOLING * (share - _HOT_SHARE)), _COLDEST)
        )
        rate = _LEARNING_RATE * min(
            1, _LAST_RATE + (1 - _LAST_RATE) * (1 - share) / (1 - _FULL_SHARE)
        )
        loss, _ = window.loss(*values, _mixing(temperature, noise, free), window.mixed_precision)
        gradients = torch.autograd.grad(loss.sum(), values)
        with torch.no_grad():
            for value, gradient, mean, square in zip(values, gradients, first, second):  # Adam
                mean.lerp_(gradient, 1 - _FIRST_DECAY)
                square.mul_(_SECOND_DECAY).addcmul_(gradient, gradient, value=1 - _SECOND_DECAY)
                size = (square / (1 - _SECOND_DECAY ** (step + 1))).sqrt_().add_(_SMALLEST)
                value.addcdiv_(mean, size, value=-rate / (1 - _FIRST_DECAY ** (step + 1)))
        progress.update()
    with torch.no_grad():
        after, reconstruction = window.loss(*values, _round)
        better = (after < before)[:, None, None, None]
        if window.whole is not None and better.item():
            window.shows(reconstruction)
        return torch.where(better, values[0], latent), torch.where(better, values[1], hyper)


def _mixing(temperature: float, noise: torch.Generator, free: Sequence[Tensor | None]) -> Quantise:
    """Random mixtures of the two symbols beside each value, at a temperature.

    With f the value's distance from the lower symbol, that one has the logit -atanh(f) / temperature
    and the upper one -atanh(1 - f) / temperature. Both get Gumbel noise, and a softmax at the same
    temperature weighs them. Of two symbols only differences matter: of the logits, one logarithm, and
    of the noise, a logistic variable.

    Args:
        free: Of level 1 and of level 2, where values are mixed; elsewhere they are rounded.
    """

    def quantise(offset: Tensor, group: GroupParameters) -> Tensor:
        low = offset.detach().floor()
        share = (offset - low).clamp(_EDGE, 1 - _EDGE)
        logit = 0.5 * torch.log((1 + share) * share / ((1 - share) * (2 - share)))
        uniform = _noise_like(offset, noise).clamp_(_EDGE, 1 - _EDGE)
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
    """Numbers in [0, 1) for values (N, C, h, w): the same at a channel and place whatever N, h and w."""
    height, width = values.shape[2:]
    table = torch.rand(
        values.shape[1], _NOISE_SIDE, _NOISE_SIDE, generator=noise, device=values.device
    )
    return table.repeat(1, -(-height // _NOISE_SIDE), -(-width // _NOISE_SIDE))[:, :height, :width]
