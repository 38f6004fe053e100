"""What the saliency network sees of an image besides its colours: border contrast and place."""

import torch
from torch import Tensor

from salcompress.saliency.seen_batch import SeenBatch

NUM_CUES = 3
"""Border contrast, row and column."""


def border_contrast(image: Tensor) -> Tensor:
    """How unlike the four borders each place's colour is: what differs from at least three of them
    is rarely background.

    The colour-whitened distances of Zhang et al., "Minimum barrier salient object detection at 80
    FPS", ICCV 2015: of the four distances from the colours of the borders, each over its largest,
    all but the largest are summed.

    Args:
        image: (N, 3, H, W) in [0, 1].

    Returns:
        (N, 1, H, W), float32 in [0, 1].
    """
    image = image.float()
    height, width = image.shape[2:]
    rows, columns = max(1, round(0.1 * height)), max(1, round(0.1 * width))
    distances = []
    for strip in (
        image[:, :, :rows],
        image[:, :, -rows:],
        image[..., :columns],
        image[..., -columns:],
    ):
        colours = strip.flatten(2)
        mean = colours.mean(2, keepdim=True)
        covariance = (colours - mean) @ (colours - mean).transpose(1, 2) / colours.shape[2]
        # 8 grey levels: a flat border is no point. It always has an inverse; inv_ex does not wait
        # for the device to hear so
        inverse = torch.linalg.inv_ex(
            covariance + 1e-3 * torch.eye(3, device=image.device, dtype=image.dtype)
        ).inverse
        away = image.flatten(2) - mean
        distance = ((inverse @ away) * away).sum(1).clamp(min=0).sqrt()
        distances.append(distance / distance.amax(1, keepdim=True).clamp(min=1))
    together = torch.stack(distances)
    total = together.sum(0) - together.amax(0)
    return (total / total.amax(1, keepdim=True).clamp(min=0.3)).view(-1, 1, height, width)


def border_contrast_of_batch(image: Tensor, batch: SeenBatch) -> Tensor:
    """:func:`border_contrast` of pictures of several sizes, each as if alone, and of all four
    borders at once.

    Args:
        image: (N, 3, H, W) in [0, 1].
        batch: Where the pictures are.

    Returns:
        (N, 1, H, W), float32 in [0, 1], 0 beyond the pictures.
    """
    image = image.float()
    number, _, height, width = image.shape
    inside = batch.inside(1)
    weights = batch.borders()
    colours = image.flatten(2)
    mean = weights.flatten(2) @ colours.transpose(1, 2)
    away = colours[:, None] - mean[..., None]
    covariance = (away * weights.flatten(2)[:, :, None]) @ away.transpose(2, 3)
    inverse = _inverse(covariance + 1e-3 * torch.eye(3, device=image.device, dtype=image.dtype))
    distance = ((inverse @ away) * away).sum(2).clamp(min=0).sqrt() * inside.flatten(2)
    distance = distance / distance.amax(2, keepdim=True).clamp(min=1)
    total = distance.sum(1) - distance.amax(1)
    return (total / total.amax(1, keepdim=True).clamp(min=0.3)).view(number, 1, height, width)


def _inverse(matrices: Tensor) -> Tensor:
    """Inverses of symmetric positive definite matrices (..., 3, 3), by their cofactors.

    The libraries' routines copy pointers from the host, which a CUDA graph cannot capture.
    """
    first, second, third = matrices.double().unbind(-1)
    cofactors = torch.stack(
        [
            torch.linalg.cross(second, third),
            torch.linalg.cross(third, first),
            torch.linalg.cross(first, second),
        ],
        -2,
    )
    determinant = (first * cofactors[..., 0, :]).sum(-1)
    return (cofactors / determinant[..., None, None]).to(matrices.dtype)


def with_cues(image: Tensor) -> Tensor:
    number, _, height, width = image.shape
    with torch.autocast(image.device.type, enabled=False):
        contrast = border_contrast(image)
    row = (
        torch.linspace(-1, 1, height, device=image.device, dtype=torch.float32)
        .view(1, 1, -1, 1)
        .expand(number, 1, height, width)
    )
    column = (
        torch.linspace(-1, 1, width, device=image.device, dtype=torch.float32)
        .view(1, 1, 1, -1)
        .expand(number, 1, height, width)
    )
    cues = torch.cat([4 * image.float() - 2, 4 * contrast - 1, row, column], 1)
    return cues.contiguous(memory_format=torch.channels_last)


def with_cues_of_batch(image: Tensor, batch: SeenBatch) -> Tensor:
    """:func:`with_cues` of pictures of several sizes; 0 beyond them."""
    with torch.autocast(image.device.type, enabled=False):
        contrast = border_contrast_of_batch(image, batch)
    cues = torch.cat([4 * image.float() - 2, 4 * contrast - 1, batch.places()], 1)
    return (cues * batch.inside(1)).contiguous(memory_format=torch.channels_last)
