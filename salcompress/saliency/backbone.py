"""The backbone of SaliencyNet: CSPDarknet, as narrow as in YOLOX-nano."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.models.full_precision import Conv2d
from salcompress.saliency.seen_batch import SeenBatch

WIDTHS = (32, 64, 128, 256)
"""Channels of the features at 1/4, 1/8, 1/16 and 1/32 of the image."""
_STEM_WIDTH = 16  # at 1/2


class BackboneFeatures(NamedTuple):
    """Features at 1/4 to 1/32 of the image, (N, C, ceil(H / stride), ceil(W / stride)) each."""

    stride_4: Tensor
    stride_8: Tensor
    stride_16: Tensor
    stride_32: Tensor


class CSPDarknetNano(nn.Module):
    """Features of an image.

    Ge et al., "YOLOX: Exceeding YOLO series in 2021", https://arxiv.org/abs/2107.08430, of the size
    that is called nano: depthwise separable convolutions, and residual blocks that see half of the
    channels. Batch normalisation is folded into the convolutions. Our choice: the first
    convolution, which YOLOX writes as one of 3x3 over every second pixel, is one of 6x6 and stride
    2, which is the same.
    """

    def __init__(self):
        super().__init__()
        w2, (w4, w8, w16, w32) = _STEM_WIDTH, WIDTHS
        self.stem = _Convolution(3, w2, 6, stride=2, padding=2)
        self.dark2 = nn.Sequential(_Separable(w2, w4, stride=2), _CrossStage(w4, 1))
        self.dark3 = nn.Sequential(_Separable(w4, w8, stride=2), _CrossStage(w8, 3))
        self.dark4 = nn.Sequential(_Separable(w8, w16, stride=2), _CrossStage(w16, 3))
        self.dark5 = nn.Sequential(
            _Separable(w16, w32, stride=2),
            _SpatialPyramid(w32),
            _CrossStage(w32, 1, is_residual=False),
        )
        for module in self.modules():
            if isinstance(module, Conv2d):  # signals keep their size without normalisation
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, batch: SeenBatch | None = None) -> BackboneFeatures:
        """Features of images (N, 3, H, W), RGB in [0, 1].

        Args:
            image: What lies beyond a picture of the batch counts nowhere.
            batch: Where the pictures are; None where they fill the batch.
        """

        def inside(stride: int) -> Tensor | None:
            return None if batch is None else batch.inside(stride)

        height, width = image.shape[2:]
        x = self.stem(F.pad(cut(image, inside(1)), (0, width % 2, 0, height % 2)))
        features = []
        for stride, stage in zip((2, 4, 8, 16), (self.dark2, self.dark3, self.dark4, self.dark5)):
            x = stage[0](x, inside(stride))
            for layer in stage[1:]:
                x = layer(x, inside(2 * stride))
            features.append(x)
        return BackboneFeatures(*features)


def cut(x: Tensor, inside: Tensor | None) -> Tensor:
    """Zeros beyond the pictures, as a convolution's padding gives them to each picture alone.

    Args:
        x: (N, C, h, w).
        inside: 1 where the pictures are, 0 beyond, (N, 1, h, w); None where they fill the batch.
    """
    return x if inside is None else x * inside


class _Convolution(nn.Sequential):
    """A convolution with its activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
    ):
        padding = kernel // 2 if padding is None else padding
        super().__init__(
            Conv2d(inputs, outputs, kernel, stride, padding, groups=groups), nn.SiLU(inplace=True)
        )


class _Separable(nn.Sequential):
    """A 3x3 convolution in each channel, and a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(
            _Convolution(inputs, inputs, 3, stride, groups=inputs), _Convolution(inputs, outputs)
        )

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        return self[1](self[0](cut(x, inside)))


class _Block(nn.Sequential):
    """A 1x1 convolution and a separable one."""

    def __init__(self, width: int):
        super().__init__(_Convolution(width, width), _Separable(width, width))

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        return self[1](self[0](x), inside)


class _CrossStage(nn.Module):
    """Half of the channels through blocks, half past them: Wang et al., "CSPNet", CVPR workshops
    2020.
    """

    def __init__(self, width: int, depth: int, is_residual: bool = True):
        super().__init__()
        half = width // 2
        self.conv1, self.conv2 = _Convolution(width, half), _Convolution(width, half)
        self.conv3 = _Convolution(width, width)
        self.m = nn.ModuleList(_Block(half) for _ in range(depth))
        self.is_residual = is_residual

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        through = self.conv1(x)
        for block in self.m:
            change = block(through, inside)
            through = through + change if self.is_residual else change
        return self.conv3(torch.cat([through, self.conv2(x)], 1))


class _SpatialPyramid(nn.Module):
    """Maxima over squares of 5, 9 and 13 positions: He et al., "Spatial pyramid pooling", ECCV
    2014.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = _Convolution(width, width // 2), _Convolution(2 * width, width)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        x = self.conv1(x)
        beyond = None if inside is None else inside == 0
        if beyond is not None:  # what lies there is no maximum
            x = x.masked_fill(beyond, -torch.inf)
        pooled = [F.max_pool2d(x, side, 1, side // 2) for side in (5, 9, 13)]
        together = torch.cat([x, *pooled], 1)
        if beyond is not None:
            together = together.masked_fill(beyond, 0)
        return self.conv2(together)
