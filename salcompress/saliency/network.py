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
from salcompress.saliency.cues import NUM_CUES, with_cues, with_cues_of_batch
from salcompress.saliency.seen_batch import SeenBatch

STRIDE = 32
"""Of the deepest features; a side shorter than that still works, but sees nothing there."""
_WIDTHS = (24, 40, 64, 96, 128)  # at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image
_SIDE_WIDTH = 32
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


class BackboneFeatures(NamedTuple):
    """Features at 1/4 to 1/32 of the image, (N, C, ceil(H / stride), ceil(W / stride)) each."""

    stride_4: Tensor
    stride_8: Tensor
    stride_16: Tensor
    stride_32: Tensor


class SaliencyNet(nn.Module):
    """Salient objects of an image.

    Short connections as in Hou et al., "Deeply supervised salient object detection with short
    connections", CVPR 2017: each side output sees those of all deeper layers, and a weighted sum
    fuses all. Our choices: a residual backbone of own design, side outputs that also see the
    features of the next deeper one, and three cues beside RGB: how far a colour is from those at
    the borders (:func:`border_contrast`), row and column.
    """

    widths = _WIDTHS
    """Channels of the features at 1/2 to 1/32 of the image."""

    def __init__(self):
        super().__init__()
        w2, w4, w8, w16, w32 = _WIDTHS
        self.stem = _convolution(3 + NUM_CUES, w2, stride=2)
        self.stage_4 = nn.Sequential(_convolution(w2, w4, stride=2), _Residual(w4))
        self.stage_8 = nn.Sequential(_convolution(w4, w8, stride=2), _Residual(w8), _Residual(w8))
        self.stage_16 = nn.Sequential(
            _convolution(w8, w16, stride=2), *(_InvertedResidual(w16) for _ in range(3))
        )
        self.stage_32 = nn.Sequential(
            _convolution(w16, w32, stride=2), *(_InvertedResidual(w32) for _ in range(2))
        )
        self.context = nn.Linear(w32, _SIDE_WIDTH)
        widths = (w32, w16, w8, w4)
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
        return self.side_outputs(self.features(image))

    def features(self, image: Tensor) -> BackboneFeatures:
        """What the backbone makes of an image (N, 3, H, W), RGB in [0, 1]."""
        x4 = _run(self.stage_4, self.stem(with_cues(image)))
        x8 = _run(self.stage_8, x4)
        x16 = _run(self.stage_16, x8)
        return BackboneFeatures(x4, x8, x16, _run(self.stage_32, x16))

    def side_outputs(self, backbone: BackboneFeatures) -> SideOutputs:
        """Logits at all depths from the features of the backbone."""
        x4, x8, x16, x32 = backbone
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
        x2 = self.stem(with_cues_of_batch(image, batch)) * batch.inside(2)
        x4 = _run(self.stage_4, x2, batch.inside(4))
        x8 = _run(self.stage_8, x4, batch.inside(8))
        x16 = _run(self.stage_16, x8, batch.inside(16))
        x32 = _run(self.stage_32, x16, batch.inside(32))
        features = self.context(batch.mean(x32, 32))[:, :, None, None]
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


def _run(stage: nn.Sequential, x: Tensor, inside: Tensor | None = None) -> Tensor:
    """A stage of the backbone. Where there is padding, every layer sees zeros in it.

    Args:
        stage: A convolution and residual blocks.
        inside: 1 where the pictures are, 0 beyond; None where they fill the batch.
    """
    for k, layer in enumerate(stage):
        x = _cut(layer(x), inside) if k == 0 else layer(x, inside)
    return x


def _cut(x: Tensor, inside: Tensor | None) -> Tensor:
    return x if inside is None else x * inside


def _convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions: quicker on a CPU than depthwise ones where channels are few."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            _convolution(width, width),
            Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        convolution, *rest = self.body
        change = _cut(convolution(x), inside)
        for layer in rest:
            change = layer(change)
        return _cut(F.relu(x + change), inside)


class _InvertedResidual(nn.Module):
    """Wide depthwise 5x5 between 1x1 convolutions (Sandler et al., "MobileNetV2", CVPR 2018): sees
    far for few weights.
    """

    def __init__(self, width: int, expansion: int = 3):
        super().__init__()
        wide = width * expansion
        self.body = nn.Sequential(
            _convolution(width, wide, 1),
            _convolution(wide, wide, 5, groups=wide),
            Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        widen, *rest = self.body
        change = _cut(widen(x), inside)
        for layer in rest:
            change = layer(change)
        return _cut(x + change, inside)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return (
        x
        if x.shape[2:] == like.shape[2:]
        else F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
    )


_CONFIG = json.dumps(
    {"network": "SaliencyNet", "widths": _WIDTHS, "side_width": _SIDE_WIDTH, "cues": NUM_CUES}
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
