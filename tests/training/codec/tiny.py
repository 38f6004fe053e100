"""A model of the codec that trains in seconds, and what it is trained with."""

import math

import numpy as np
import torch

from salcompress.models.compression_model import CompressionModel, ModelConfig
from salcompress.training.codec import Recipe
from salcompress.training.codec.recipe import random_levels
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings

TINY = ModelConfig(64, 64, 48, 8, 16)


RECIPE = Recipe(batch_size=4, crop=64, large_crop=128)


def tiny_model():
    torch.manual_seed(0)
    model = CompressionModel(TINY)
    model.prior.project()
    return model


def settings_of(path, steps, **changes):
    return TrainSettings(Cosine(steps), math.inf, path, 1e-3)._replace(**changes)


def with_saliency(pictures):
    """A fourth channel: every other column is salient."""
    return [
        np.dstack(
            [
                picture,
                np.broadcast_to(
                    (np.arange(picture.shape[1]) % 2 * 255).astype(np.uint8), picture.shape[:2]
                ),
            ]
        )
        for picture in pictures
    ]


def one_batch(photographs, count=8, side=64, seed=9):
    torch.manual_seed(seed)
    return photographs.crops(count, side), random_levels(count, side // 64, torch.device("cpu"))
