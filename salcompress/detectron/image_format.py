"""How the channels of Detectron2's pictures lie; the only place here that swaps them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salcompress.errors import SettingError
from salcompress.image import swap_channels


def check_image_format(image_format: str) -> None:
    """Raise unless codecs can be given pictures of this Detectron2 format.

    Raises:
        SettingError: The format is neither "BGR" nor "RGB".
    """
    if image_format not in ("BGR", "RGB"):
        raise SettingError(f"INPUT.FORMAT must be BGR or RGB for compression, got {image_format!r}")


def check_same_format(image_format: str, other: str | None, owner: str) -> None:
    """Raise unless two parts agree on how channels lie.

    A codec that is given BGR as RGB codes other colours: rates rise by about a tenth, and nothing
    fails.

    Args:
        image_format: "BGR" or "RGB", the format of the part that checks.
        other: The format of the other part; None where it does not say.
        owner: The other part, for the message.

    Raises:
        SettingError: They differ.
    """
    if other is not None and other != image_format:
        raise SettingError(
            f"{owner} has {other} pictures and the codec beside it is told {image_format}: give "
            f"both the same (image_format={other!r}, or INPUT.FORMAT {other})"
        )


def check_model_format(model: nn.Module, image_format: str) -> None:
    """Raise where a model says that it takes pictures of another format.

    Args:
        model: Detectron2's models say so in ``input_format``; of others nothing is known.

    Raises:
        SettingError: It is another than ``image_format``.
    """
    check_same_format(image_format, getattr(model, "input_format", None), type(model).__name__)


def as_rgb(image: np.ndarray, image_format: str) -> np.ndarray:
    """A picture of the given format as RGB. It is also the way back: the swap is its own inverse.

    Args:
        image: (H, W, 3).
        image_format: "BGR" or "RGB".
    """
    return swap_channels(image) if image_format == "BGR" else image


def rgb_of(x: Mapping[str, Any], image_format: str, device: torch.device) -> Tensor:
    """The image of one of Detectron2's dicts, as a codec takes it.

    Args:
        x: A mapper's dict; ``image`` is (3, H, W), uint8 or float of the same range.
        image_format: "BGR" or "RGB", how its channels are said to lie.
        device: Where the image is to be.

    Returns:
        uint8 (3, H, W), RGB.

    Raises:
        SettingError: There is no such image, or its mapper gave another format.
    """
    if "image" not in x:
        raise SettingError(
            'CompressedDetector needs x["image"], a tensor (3, H, W); the dict has '
            f"{', '.join(sorted(x))}: another input cannot be coded"
        )
    check_same_format(image_format, x.get("image_format"), "OriginalImageMapper")
    image = x["image"]
    is_tensor = isinstance(image, Tensor)
    if not is_tensor or image.dim() != 3 or image.shape[0] != 3 or not image.numel():
        came = tuple(image.shape) if is_tensor else type(image).__name__
        raise SettingError(f'x["image"] must be a tensor (3, H, W), got {came}')
    image = image.to(device)
    if image.dtype != torch.uint8:
        image = image.round().clamp(0, 255).to(torch.uint8)
    return image.flip(0) if image_format == "BGR" else image
