"""A detector's backbone as the teacher of the saliency network's backbone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.saliency.network import BackboneFeatures

_STRIDES = (8, 16, 32)


class Teacher:
    """The frozen backbone of a Detectron2 model, whose features the network learns to predict.

    Args:
        model: A Detectron2 model: ``backbone``, ``pixel_mean``, ``pixel_std`` and ``input_format``
            are used. Its backbone has features at strides 8, 16 and 32.
        device: Where the images are.

    Raises:
        SettingError: The model has no such backbone.
    """

    def __init__(self, model: Any, device: str = "cpu"):
        try:
            shapes = model.backbone.output_shape()
            by_stride = {shape.stride: (name, shape.channels) for name, shape in shapes.items()}
            self.names, self.channels = zip(*(by_stride[stride] for stride in _STRIDES))
        except (AttributeError, KeyError) as error:
            raise SettingError(
                "the teacher must be a Detectron2 model whose backbone has features at strides 8, "
                f"16 and 32; {type(model).__name__} is not"
            ) from error
        self.model = model.eval().to(device).to(memory_format=torch.channels_last)
        self.fingerprint = digest(
            *(value.cpu().numpy().tobytes() for value in model.state_dict().values())
        )[:12]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> list[Tensor]:
        """Features of an image (N, 3, H, W), RGB in [0, 1], at strides 8, 16 and 32 of the teacher.

        The sides of the image are multiples of 32.
        """
        x = 255 * image
        if self.model.input_format == "BGR":
            x = x.flip(1)
        x = (x - self.model.pixel_mean) / self.model.pixel_std
        features = self.model.backbone(x.contiguous(memory_format=torch.channels_last))
        return [features[name].float() for name in self.names]


class Imitation(nn.Module):
    """Predicts a teacher's features from those of the network's backbone, and says how far off.

    Features as a training signal: Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015,
    https://arxiv.org/abs/1412.6550. Our choice: a 1x1 convolution at each stride, and the mean
    squared error where each channel of the teacher has mean 0 and variance at most 1.

    Args:
        widths: Channels of the network's features at strides 8, 16 and 32.
        channels: Those of the teacher.
    """

    def __init__(self, widths: tuple[int, ...], channels: tuple[int, ...]):
        super().__init__()
        self.predict = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in zip(widths, channels))
        # channels that hardly change, such as those of rare classes, stay small
        self.normalize = nn.ModuleList(
            nn.BatchNorm2d(number, eps=1e-2, affine=False) for number in channels
        )

    def forward(self, backbone: BackboneFeatures, taught: list[Tensor]) -> Tensor:
        """Mean squared error, summed over the strides."""
        total = torch.zeros((), device=taught[0].device)
        for k, own in enumerate(backbone[1:]):
            wanted = self.normalize[k](taught[k])
            total = total + F.mse_loss(self.predict[k](own).float(), wanted)
        return total
