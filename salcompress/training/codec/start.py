"""The networks that a training of the codec begins with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from salcompress.errors import SettingError
from salcompress.models.compression_model import CompressionModel, ModelConfig, load_model
from salcompress.models.transforms import KLT_SIDE, initialise_as_klt
from salcompress.training.codec.growth import grow

KLT_GAIN = 4.85
"""The gain of the KLT at the start: one over the quantizer's step that is best at the middle level,
in pixels of [0, 1], for a transform that keeps distances.
"""
_MOST_FOR_KLT = 400
"""At most so many pictures are used for the KLT."""


def starting_model(
    config: ModelConfig | None, weights: Path | None, pictures: Sequence[np.ndarray]
) -> CompressionModel:
    """Make the networks that a training begins with.

    With weights they are those of the file. With weights and a larger config they grow into it.
    With a config alone they start as a KLT (Karhunen-Loeve transform) of the pictures.

    Args:
        config: Sizes of the networks. It may be None if there are weights.
        weights: A weights file of the codec, or None.
        pictures: uint8 (H, W, C), from which the KLT is computed.

    Raises:
        SettingError: Neither is given, the weights cannot grow into the config, or no picture is
            large enough for a KLT.
        DataError: The weights are damaged.
    """
    torch.manual_seed(0)
    if weights is not None:
        small = load_model(weights)[0].train().requires_grad_(True)
        if config is None or config == small.config:
            return small
        model = CompressionModel(config)
        grow(small, model)
        return model
    if config is None:
        raise SettingError("a training begins with a config or with a weights file")
    large = [picture[..., :3] for picture in pictures if min(picture.shape[:2]) >= KLT_SIDE]
    if not large:
        raise SettingError(
            f"the start as a KLT needs photographs with both sides of at least {KLT_SIDE} "
            "pixels; or begin with a weights file"
        )
    model = CompressionModel(config)
    initialise_as_klt(
        model.analysis,
        model.synthesis,
        [torch.from_numpy(picture).permute(2, 0, 1) for picture in large[:_MOST_FOR_KLT]],
        KLT_GAIN,
    )
    return model
