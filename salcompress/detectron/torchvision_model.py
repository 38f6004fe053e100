"""torchvision's Faster R-CNN and Mask R-CNN as models of Detectron2's kind, to train and test behind a codec."""
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from torch import Tensor, nn

from salcompress.detectron.augmentation import check_image_format
from salcompress.detectors.scene_detector import WEIGHTS, build_model
from salcompress.detectors.torchvision_models import load_state, read_state_dict
from salcompress.errors import SettingError


class TorchvisionModel(nn.Module):
    """Takes Detectron2's list of dicts; gives a dict of losses in training, and at test a list of ``{"instances": Instances}``.

    Class k of Detectron2 is label k + 1 of torchvision. The model resizes for itself, so the mapper need not: pictures must come at the size
    that results are wanted at.

    Args:
        model: Takes a list of float RGB (3, H, W) in [0, 1]; gives boxes, labels from 1, scores and perhaps masks.
        image_format: "BGR" or "RGB", how the channels of ``x["image"]`` lie.

    Raises:
        SettingError: The format is another; when called, results are wanted at another size than the picture's.
    """

    def __init__(self, model: nn.Module, image_format: str = "BGR"):
        super().__init__()
        check_image_format(image_format)
        self.model, self.image_format = model, image_format

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        images = [self._image(x) for x in batched_inputs]
        if self.training:
            return self.model(images, [self._target(x["instances"]) for x in batched_inputs])
        for x, image in zip(batched_inputs, images):
            wanted = (x.get("height", image.shape[1]), x.get("width", image.shape[2]))
            if wanted != tuple(image.shape[1:]):
                raise SettingError(f"the picture is of {tuple(image.shape[1:])} pixels and results are wanted at {wanted}: leave resizing to the "
                                   "torchvision model, and no resize in the mapper")
        return [{"instances": self._instances(found, image)} for found, image in zip(self.model(images), images)]

    def _image(self, x: dict[str, Any]) -> Tensor:
        image = x["image"].to(self.device).float() / 255
        return image.flip(0) if self.image_format == "BGR" else image

    def _target(self, instances: Instances) -> dict[str, Tensor]:
        instances = instances.to(self.device)
        target = {"boxes": instances.gt_boxes.tensor, "labels": instances.gt_classes + 1}
        if instances.has("gt_masks"):
            masks = instances.gt_masks
            if not isinstance(masks, BitMasks):
                masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
            target["masks"] = masks.tensor.to(self.device, torch.uint8)
        return target

    def _instances(self, found: dict[str, Tensor], image: Tensor) -> Instances:
        instances = Instances(tuple(image.shape[1:]), pred_boxes=Boxes(found["boxes"]), scores=found["scores"], pred_classes=found["labels"] - 1)
        if "masks" in found:
            instances.pred_masks = found["masks"][:, 0] > 0.5
        return instances


def load_scene_model(weights: Path | str = WEIGHTS, image_format: str = "BGR") -> TorchvisionModel:
    """The demo's trained detector of :mod:`salcompress.scenes`.

    Raises:
        SettingError: The file is missing, or the format wrong.
        DataError: The file is damaged or of another model.
    """
    model = build_model()
    load_state(model, read_state_dict(weights), weights)
    return TorchvisionModel(model, image_format)
