"""A model like those of Detectron2, whose features are known without weights."""

from types import SimpleNamespace

import torch
from torch import nn

STRIDES = {"p3": 8, "p4": 16, "p5": 32}


class _Backbone(nn.Module):
    """Means of the input over squares of 8, 16 and 32 pixels."""

    def output_shape(self):
        return {
            name: SimpleNamespace(stride=stride, channels=3)
            for name, stride in reversed(STRIDES.items())
        }

    def forward(self, x):
        return {name: nn.functional.avg_pool2d(x, k) for name, k in STRIDES.items()}


class MeansModel(nn.Module):
    """What of a Detectron2 model the teacher uses."""

    input_format = "BGR"

    def __init__(self):
        super().__init__()
        self.backbone = _Backbone()
        self.register_buffer("pixel_mean", torch.tensor([10.0, 20, 30]).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([1.0, 2, 4]).view(3, 1, 1))
