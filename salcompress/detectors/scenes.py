"""The small Mask R-CNN of the demo, trained on this package's own synthetic scenes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from salcompress.detectors.base import check_num_classes
from salcompress.detectors.torchvision import OPTIONS, TorchvisionDetector
from salcompress.errors import SettingError
from salcompress.models.weight_file import load_tensors, read_tensors, weight_file
from salcompress.spec import parse_spec, single_options

WEIGHTS = Path(__file__).parents[1] / "weights" / "scene_detector.safetensors"
NUM_CLASSES = 6
_FPN_CHANNELS = 64


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        same = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out_channels, H / stride, W / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def build_model() -> MaskRCNN:
    """The network with random weights, in training mode: 1.38 M parameters, four pyramid levels,
    strides 4 to 32.
    """
    body = nn.Sequential()
    body.add_module(
        "stem",
        nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(True),
            ResidualBlock(24, 32, 2),
        ),
    )
    body.add_module("stage3", nn.Sequential(ResidualBlock(32, 64, 2), ResidualBlock(64, 64, 1)))
    body.add_module("stage4", nn.Sequential(ResidualBlock(64, 96, 2), ResidualBlock(96, 96, 1)))
    body.add_module("stage5", ResidualBlock(96, 96, 2))
    stages = {"stem": "0", "stage3": "1", "stage4": "2", "stage5": "3"}
    backbone = BackboneWithFPN(body, stages, [32, 64, 96, 96], _FPN_CHANNELS)
    representation, num_labels = 128, NUM_CLASSES + 1  # label 0 is the background
    return MaskRCNN(
        backbone,
        min_size=240,
        max_size=320,  # the size of a scene, so that scenes are not resampled
        rpn_anchor_generator=AnchorGenerator(
            ((12,), (24,), (48,), (96,), (160,)), ((0.6, 1.0, 1.7),) * 5
        ),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=80,
        rpn_batch_size_per_image=128,
        box_head=TwoMLPHead(_FPN_CHANNELS * 7 * 7, representation),
        box_predictor=FastRCNNPredictor(representation, num_labels),
        box_batch_size_per_image=64,
        mask_head=MaskRCNNHeads(_FPN_CHANNELS, [_FPN_CHANNELS] * 3, dilation=1),
        mask_predictor=MaskRCNNPredictor(_FPN_CHANNELS, 32, num_labels),
        box_score_thresh=0.02,
        box_detections_per_img=40,
    )


def save_scene_network(weights: Mapping[str, Tensor]) -> bytes:
    """The weight file of a network: convolutions in 8 bits, all else in half precision.

    Args:
        weights: Its state dict, of which integers stay as they are.
    """
    layers = build_model().named_modules()
    in_8_bits = {f"{name}.weight" for name, layer in layers if isinstance(layer, nn.Conv2d)}
    state = {
        name: value.half() if value.is_floating_point() and name not in in_8_bits else value
        for name, value in weights.items()
    }
    return weight_file(state, in_8_bits)


def load_scene_network(weights: Path | str = WEIGHTS) -> MaskRCNN:
    """The trained network.

    Raises:
        SettingError: The file is missing.
        DataError: The file is damaged or of another model.
    """
    model = build_model()
    load_tensors(model, read_tensors(weights), weights)
    return model


def load_scene_detector(spec: str, category_ids: Sequence[int] | None) -> TorchvisionDetector:
    """The detector of ``scenes[:weights=FILE][,device=cpu]``.

    Args:
        spec: Without a file it has the shipped weights.
        category_ids: Those of :mod:`salcompress.data.scenes`, or of another data set of six. None
            stands for 1 to 6.

    Raises:
        SettingError: The specification is wrong, the file is missing, or the data set has another
            number of categories.
        DataError: The file is damaged or of another model.
    """
    parsed = parse_spec(spec)
    options = single_options(spec, parsed, OPTIONS)
    if parsed.argument is not None:
        raise SettingError(
            f"{spec!r}: scenes is one detector and takes no name, got {parsed.argument!r}; write "
            "scenes[:weights=FILE][,device=cpu]"
        )
    category_ids = range(1, NUM_CLASSES + 1) if category_ids is None else category_ids
    check_num_classes(spec, NUM_CLASSES, category_ids)
    model = load_scene_network(options.get("weights", WEIGHTS))
    return TorchvisionDetector(model, category_ids, spec, options.get("device"))
