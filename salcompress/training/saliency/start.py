"""The backbone of a trained YOLOX-nano as the start of SaliencyNet's."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from salcompress.errors import DataError, SettingError
from salcompress.files import read_file
from salcompress.saliency.backbone import CSPDarknetNano

_LAST = "dark5.2.conv3.0.weight"
"""A name of the backbone alone, by which it is found in a larger model."""
_STEM = torch.Size((16, 12, 3, 3))
_GREY_LEVELS = 255


def backbone_weights(path: Path | str) -> dict[str, Tensor]:
    """The weights of :class:`~salcompress.saliency.backbone.CSPDarknetNano` from a detector's file.

    Args:
        path: A safetensors file of a detector of which YOLOX-nano's backbone is a part, with batch
            normalisation folded into its convolutions: ``stem``, ``dark2``, ``dark3``, ``dark4``
            and ``dark5``, whose convolutions have the names that those of ``CSPDarknetNano`` have.
            It sees BGR from 0 to 255, of which the stem has cut every second pixel into channels:
            those of even rows and columns, then odd rows, then odd columns, then both.

    Returns:
        A state dict of float32 tensors, for RGB in [0, 1].

    Raises:
        SettingError: No part of the detector, or more than one, is such a backbone.
        DataError: The file is missing or damaged, or holds weights that are not finite.
    """
    try:
        state = {name: value.float() for name, value in load(read_file(path)).items()}
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file: {error}") from error
    found = [name.removesuffix(_LAST) for name in state if name.endswith(_LAST)]
    if len(found) != 1:
        raise SettingError(
            f"{path} holds {len(found)} backbones of YOLOX-nano, and SaliencyNet starts from one: "
            "stem and dark2 to dark5, with batch normalisation folded into the convolutions"
        )
    own = CSPDarknetNano().state_dict()
    weights = {name: state.get(found[0] + name, torch.empty(0)) for name in own}
    for name, value in weights.items():
        wanted = _STEM if name == "stem.0.weight" else own[name].shape
        if value.shape != wanted:
            raise SettingError(
                f"{path} holds a backbone of another kind than YOLOX-nano's: {found[0]}{name} is "
                f"{list(value.shape)}, and {list(wanted)} is wanted"
            )
        if not value.isfinite().all():
            raise DataError(f"{path}: {found[0]}{name} holds values that are not finite")
    return weights | {"stem.0.weight": _of_pixels(weights["stem.0.weight"])}


def _of_pixels(stem: Tensor) -> Tensor:
    """A convolution 6x6 of stride 2 over RGB in [0, 1] that does what one of 3x3 does over the
    channels that hold every second pixel of BGR from 0 to 255.
    """
    outputs = stem.shape[0]
    parts = stem.view(outputs, 2, 2, 3, 3, 3)  # odd columns, odd rows, colours, down, across
    by_place = parts.permute(0, 3, 4, 2, 5, 1)  # colours, down, odd rows, across, odd columns
    return _GREY_LEVELS * by_place.reshape(outputs, 3, 6, 6).flip(1)
