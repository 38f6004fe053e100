"""SaliencyNet: a small fully convolutional network with deeply supervised short connections; its
weight file.
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.errors import DataError, SettingError
from salcompress.models.full_precision import Conv2d
from salcompress.models.weight_file import load_tensors, read_weight_file, weight_file
from salcompress.saliency.backbone import WIDTHS, CSPDarknetNano, cut
from salcompress.saliency.seen_batch import SeenBatch

_SIDE_WIDTH = 48
_NEARLY_SURE = 0.05
"""Probabilities this near to 0 or 1 are as good as sure. Without it, grey backgrounds of 0.02 cost
bits and error, and a map of a large object hardly reaches 1.
"""


class SideOutputs(NamedTuple):
    """What a forward pass gives: logits."""

    fused: Tensor
    """(N, 1, ceil(H / 4), ceil(W / 4))."""
    sides: tuple[Tensor, ...]
    """Deepest first, at 1/32, 1/16, 1/8 and 1/4 of the image; each is supervised."""


class SaliencyNet(nn.Module):
    """Salient objects of an image.

    Short connections as in Hou et al., "Deeply supervised salient object detection with short
    connections", CVPR 2017: each side output sees those of all deeper layers, and a weighted sum
    fuses all. Theirs stand on VGG-16 trained on ImageNet, these on a detector's small backbone
    trained on COCO. Our choice: side outputs also see the features of the next deeper one.
    """

    def __init__(self):
        super().__init__()
        self.backbone = CSPDarknetNano()
        self.context = nn.Linear(WIDTHS[-1], _SIDE_WIDTH)
        widths = WIDTHS[::-1]
        self.lateral = nn.ModuleList(Conv2d(width, _SIDE_WIDTH, 1) for width in widths)
        self.mix = nn.ModuleList(
            _convolution(_SIDE_WIDTH + k, _SIDE_WIDTH) for k in range(len(widths))
        )
        self.side = nn.ModuleList(Conv2d(_SIDE_WIDTH, 1, 3, padding=1) for _ in widths)
        self.fusion = Conv2d(len(widths), 1, 1)
        nn.init.constant_(self.fusion.weight, 1 / len(widths))
        nn.init.zeros_(self.fusion.bias)

    def forward(self, image: Tensor) -> SideOutputs:
        """Logits at all depths.

        Args:
            image: (N, 3, H, W), RGB in [0, 1].
        """
        x4, x8, x16, x32 = self.backbone(image)
        features = self.context(x32.mean((2, 3)))[:, :, None, None]
        sides: list[Tensor] = []
        for k, x in enumerate((x32, x16, x8, x4)):
            deeper = [_resize(side, x) for side in sides]
            features = self.mix[k](
                torch.cat([self.lateral[k](x) + _resize(features, x), *deeper], 1)
            )
            sides.append(self.side[k](features))
        return SideOutputs(
            self.fusion(torch.cat([_resize(side, sides[-1]) for side in sides], 1)), tuple(sides)
        )

    def fused_of_batch(self, image: Tensor, batch: SeenBatch) -> Tensor:
        """``forward(image).fused`` of pictures of several sizes, each as if alone.

        Args:
            image: (N, 3, H, W), RGB in [0, 1]; what lies beyond a picture counts nowhere.
            batch: Where the pictures are.

        Returns:
            (N, 1, ceil(H / 4), ceil(W / 4)); beyond a picture it means nothing.
        """
        x4, x8, x16, x32 = self.backbone(image, batch)
        features = self.context(batch.mean(cut(x32, batch.inside(32)), 32))[:, :, None, None]
        sides: list[Tensor] = []
        strides = (32, 16, 8, 4)
        for k, x in enumerate((x32, x16, x8, x4)):
            deeper = [batch.resize(side, strides[j], strides[k]) for j, side in enumerate(sides)]
            if k:
                features = batch.resize(features, strides[k - 1], strides[k])
            inside = batch.inside(strides[k])
            features = self.mix[k](torch.cat([self.lateral[k](x) + features, *deeper], 1) * inside)
            features = features * inside
            sides.append(self.side[k](features))
        # those of the last turn are at the finest stride already
        return self.fusion(torch.cat([*deeper, sides[-1]], 1))

    @torch.inference_mode()
    def saliency(self, image: Tensor) -> Tensor:
        """Saliency (N, 1, H, W), float32 in [0, 1], of an image (N, 3, H, W) in [0, 1]."""
        logits = self(image).fused.float()
        return _saliency_of(
            F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)
        )

    @torch.inference_mode()
    def saliency_of_batch(self, image: Tensor, batch: SeenBatch) -> Tensor:
        """:meth:`saliency` of pictures of several sizes, each as if alone; (N, 1, H, W)."""
        return _saliency_of(batch.resize(self.fused_of_batch(image, batch).float(), 4, 1))


def _saliency_of(logits: Tensor) -> Tensor:
    """Saliency of logits: what is nearly sure counts as sure, 0 or 1. Our choice."""
    return ((logits.sigmoid() - _NEARLY_SURE) / (1 - 2 * _NEARLY_SURE)).clamp(0, 1)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return (
        x
        if x.shape[2:] == like.shape[2:]
        else F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
    )


_CONFIG = json.dumps(
    {"network": "SaliencyNet", "backbone": "CSPDarknetNano", "side_width": _SIDE_WIDTH}
)


def save_saliency_network(model: SaliencyNet) -> bytes:
    """The weight file of a network: half precision, with the network's sizes."""
    state = {
        name: value.detach().half()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    return weight_file(state, config=_CONFIG)


def load_saliency_network(path: Path | str, device: str = "cpu") -> SaliencyNet:
    """A network ready to use.

    Raises:
        SettingError: The file does not exist, or the device cannot be used.
        DataError: The file is damaged or of another network, or it holds weights that are not
            finite.
    """
    file = read_weight_file(path, "a saliency network")
    if file.metadata.get("config") != _CONFIG:
        config = file.metadata.get("config", "it has no config")
        raise DataError(f"{path} is of another network: {config[:200]}")
    model = SaliencyNet()
    counters = {
        name: value for name, value in model.state_dict().items() if not value.is_floating_point()
    }
    load_tensors(model, file.tensors | counters, path)
    try:
        return model.eval().to(device).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:  # no such device, or torch is without it
        raise SettingError(
            f"device {device!r} cannot be used here: {str(error).splitlines()[0]}"
        ) from error
