"""Stochastic Gumbel annealing: the steps of the encoder's search.

Each step looks at random mixtures of symbols.

Yang, Bamler and Mandt, "Improving Inference for Neural Image Compression", NeurIPS 2020
(https://arxiv.org/abs/2006.04240). ``refine.py`` says what is theirs and what is ours.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from salcompress.bitstream.format import MAX_SYMBOL
from salcompress.codecs.salient.search_loss import Quantise, to_symbols
from salcompress.codecs.salient.search_window import Window
from salcompress.models.groups import GroupParameters, take_group

# from half of the steps on the learning rate falls, to a tenth
_LEARNING_RATE, _FULL_SHARE, _LAST_RATE = 0.02, 0.5, 0.1
# temperatures of the annealing
_HOTTEST, _COLDEST, _COOLING, _HOT_SHARE = 0.5, 0.01, 1.5, 0.2
# the probabilities of the two symbols have infinite slopes at 0 and 1
_LEAST_SHARE = 1e-5
# positions of a group after which the noise repeats
_NOISE_SIDE = 24
_SEED = 20201209


def anneal(
    window: Window, latent: Tensor, hyper: Tensor, num_steps: int, progress: tqdm
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
        adam.param_groups[0]["lr"] = _learning_rate(share)
        mixing = _mixing(_temperature(share), noise, free)
        loss, _ = window.loss(*values, mixing, window.mixed_precision)
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


def _learning_rate(share: float) -> float:
    """The learning rate after a share of the steps."""
    falling = _LAST_RATE + (1 - _LAST_RATE) * (1 - share) / (1 - _FULL_SHARE)
    return _LEARNING_RATE * min(1, falling)


def _temperature(share: float) -> float:
    """The temperature after a share of the steps."""
    cooling = _HOTTEST * math.exp(-_COOLING * (share - _HOT_SHARE))
    return min(_HOTTEST, max(cooling, _COLDEST))


def _mixing(temperature: float, noise: torch.Generator, free: Sequence[Tensor | None]) -> Quantise:
    """Random mixtures of the two symbols beside each value, at a temperature.

    With f the value's distance from the lower symbol, that one has the logit -atanh(f) /
    temperature and the upper one -atanh(1 - f) / temperature. Both get Gumbel noise, and a softmax
    at the same temperature weighs them. Of two symbols only differences matter: of the logits, one
    logarithm, and of the noise, a logistic variable.

    Args:
        temperature: At most 0.5; the mixtures harden as it falls.
        noise: Where the random numbers come from.
        free: Masks of level 1 and of level 2, which say where values are mixed. Elsewhere they are
            rounded. None mixes all.
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
