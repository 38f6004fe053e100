"""What a training step with the codec in the model says of itself in Detectron2's logs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from salcompress.training.differentiable_codec import SoftlyCoded


class LastImage(NamedTuple):
    """The last training image that went through the codec; it is coded for real, for the logs."""

    original: Tensor
    """uint8 (3, H, W), RGB."""
    quality: float


def log_batch(coded: SoftlyCoded, originals: Sequence[Tensor], with_perceptual: bool) -> None:
    """Put a batch's figures into the event storage, where there is one.

    The scalars are ``salcompress/estimated_bpp``, ``psnr``, ``salient_share`` and ``perceptual``.

    Args:
        originals: The batch's images, (3, H, W) each.
        with_perceptual: Whether the perceptual metric is a part of the loss.
    """
    if not has_event_storage():
        return
    rate = coded.terms.rate
    pixels = torch.tensor([float(original[0].numel()) for original in originals]).to(rate.device)
    figures = {
        "estimated_bpp": (rate * pixels).sum() / pixels.sum(),
        "psnr": coded.terms.psnr.mean(),
        "salient_share": coded.salient_share.mean(),
    }
    if with_perceptual:
        figures["perceptual"] = coded.terms.perceptual_distance.mean()
    get_event_storage().put_scalars(
        **{f"salcompress/{name}": value.item() for name, value in figures.items()}
    )
