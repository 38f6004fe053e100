"""torchvision's Faster R-CNN and Mask R-CNN as models of Detectron2's kind, to train and test
behind a codec.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from torch import Tensor, nn

from salcompress.detectors.scenes import NUM_CLASSES, WEIGHTS, load_scene_network
from salcompress.detectors.torchvision import resized_size
from salcompress.detectron.image_format import check_image_format
from salcompress.detectron.seen_size import SEEN_KEY
from salcompress.errors import SettingError


class TorchvisionModel(nn.Module):
    """Takes Detectron2's list of dicts; gives a dict of losses in training, and at test a list of
    ``{"instances": Instances}``.

    The model resizes for itself, so the mapper need not: pictures must come at the size at which
    results are wanted. At test it notes in each dict what it resized the picture to, as
    ``x["seen_size"]``. It has no ``backbone`` of Detectron2's kind, so that its labels can teach a
    codec and its features cannot.

    Args:
        model: Takes a list of float RGB (3, H, W) in [0, 1]; gives boxes, labels from 1, scores and
            perhaps masks.
        labels: torchvision's label of each of Detectron2's classes. For torchvision's own COCO
            weights, whose labels have gaps, that is
            ``salcompress.data.coco.COCO_CATEGORY_IDS``; for a model of N classes without gaps,
            ``range(1, N + 1)``. Detections of other labels are left out.
        image_format: "BGR" or "RGB", how the channels of ``x["image"]`` lie.

    Raises:
        SettingError: The format is another or two classes share a label. When called: annotations
            are missing, or results are wanted at another size than the picture's.
    """

    def __init__(self, model: nn.Module, labels: Sequence[int], image_format: str = "BGR"):
        super().__init__()
        check_image_format(image_format)
        if len(set(labels)) < len(labels) or min(labels, default=0) < 1:
            raise SettingError(
                f"labels must be different numbers from 1, one for each class, got {list(labels)}"
            )
        self.model, self.image_format = model, image_format
        self.input_format = image_format  # as Detectron2's models say it
        self._labels: Tensor
        self._classes: Tensor
        classes = torch.full((max(labels) + 1,), -1)
        classes[list(labels)] = torch.arange(len(labels))
        self.register_buffer("_labels", torch.tensor(list(labels)), persistent=False)
        self.register_buffer("_classes", classes, persistent=False)

    @property
    def device(self) -> torch.device:
        return self._labels.device

    def input_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of what the network sees of a picture; None where it does not say."""
        return resized_size(self.model, height, width)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        images = [self._image(x) for x in batched_inputs]
        if self.training:
            return self.model(images, [self._target(x) for x in batched_inputs])
        for x, image in zip(batched_inputs, images):
            wanted = (x.get("height", image.shape[1]), x.get("width", image.shape[2]))
            if wanted != tuple(image.shape[1:]):
                raise SettingError(
                    f"the picture is of {tuple(image.shape[1:])} pixels and results are wanted "
                    f"at {wanted}: leave resizing to the "
                    "torchvision model, and no resize in the mapper"
                )
            x[SEEN_KEY] = self.input_size(*image.shape[1:])
        return [
            {"instances": self._instances(found, image)}
            for found, image in zip(self.model(images), images)
        ]

    def _image(self, x: dict[str, Any]) -> Tensor:
        image = x["image"].to(self.device).float() / 255
        return image.flip(0) if self.image_format == "BGR" else image

    def _target(self, x: dict[str, Any]) -> dict[str, Tensor]:
        if "instances" not in x:
            raise SettingError(
                f"training needs annotations, and x has {', '.join(sorted(x))}: map with "
                "is_train=True a data set that has them"
            )
        instances = x["instances"].to(self.device)
        if (
            hasattr(self.model.roi_heads, "mask_head")
            and self.model.roi_heads.mask_head is not None
            and not instances.has("gt_masks")
        ):
            raise SettingError(
                "a Mask R-CNN learns from masks, and there are none: map with "
                "use_instance_mask=True (MODEL.MASK_ON)"
            )
        target = {"boxes": instances.gt_boxes.tensor, "labels": self._labels[instances.gt_classes]}
        if instances.has("gt_masks"):
            masks = instances.gt_masks
            if not isinstance(masks, BitMasks):
                masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
            target["masks"] = masks.tensor.to(self.device, torch.uint8)
        return target

    def _instances(self, found: dict[str, Tensor], image: Tensor) -> Instances:
        known = found["labels"].clamp(max=len(self._classes) - 1)
        classes = torch.where(found["labels"] == known, self._classes[known], -1)
        kept = classes >= 0
        instances = Instances(
            tuple(image.shape[1:]),
            pred_boxes=Boxes(found["boxes"][kept]),
            scores=found["scores"][kept],
            pred_classes=classes[kept],
        )
        if "masks" in found:
            instances.pred_masks = found["masks"][kept, 0] > 0.5
        return instances


def load_scene_model(weights: Path | str = WEIGHTS, image_format: str = "BGR") -> TorchvisionModel:
    """The demo's trained detector of :mod:`salcompress.data.scenes`.

    Raises:
        SettingError: The file is missing, or the format wrong.
        DataError: The file is damaged or of another model.
    """
    return TorchvisionModel(load_scene_network(weights), range(1, NUM_CLASSES + 1), image_format)
