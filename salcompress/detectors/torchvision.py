"""torchvision's Faster R-CNN and Mask R-CNN as detectors."""

import urllib.error
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from pycocotools import mask as mask_util
from torch import nn

from salcompress.data.coco import category_ids
from salcompress.errors import DataError, SettingError
from salcompress.image import check_image, to_tensor
from salcompress.models.weight_file import load_tensors, read_tensors

MODEL_NAMES = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
)


class TorchvisionDetector:
    """A detection model of torchvision's interface as a
    :class:`~salcompress.detectors.base.Detector`.

    Args:
        model: Takes a list of float (3, H, W) in [0, 1]; gives boxes, labels from 1, scores and
            perhaps masks.
        categories: Category id of label 1, 2, ...
        device: Where it runs; CUDA where there is one if None.

    Raises:
        SettingError: There is no such device here.
    """

    def __init__(self, model: nn.Module, categories: Sequence[int], device: str | None = None):
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.model = model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise SettingError(
                f"device {device!r} cannot be used here: {_first_line(error)}"
            ) from error
        self.categories = categories

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        check_image(image)
        found = {
            key: value.cpu()
            for key, value in self.model([to_tensor(image)[0].to(self.device)])[0].items()
        }
        results = []
        for k, (x0, y0, x1, y1) in enumerate(found["boxes"].tolist()):
            results.append(
                {
                    "category_id": int(self.categories[int(found["labels"][k]) - 1]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(found["scores"][k]),
                }
            )
            if "masks" in found:
                solid = np.asfortranarray((found["masks"][k, 0] > 0.5).numpy().astype(np.uint8))
                encoded = mask_util.encode(solid)
                results[-1]["segmentation"] = {
                    "size": encoded["size"],
                    "counts": encoded["counts"].decode(),
                }
        return results


def load_torchvision(
    name: str, weights: str | None = None, device: str | None = None
) -> TorchvisionDetector:
    """A torchvision model by name.

    Args:
        name: One of ``MODEL_NAMES``.
        weights: File with the state dict (.pth or .safetensors); its number of classes is read off
            it. The official COCO weights, from torch's cache or the network, if None.

    Raises:
        SettingError: The name is unknown, or the file is missing.
        DataError: The weights are damaged or of another model, or the official ones cannot be
            downloaded.
    """
    if name not in MODEL_NAMES:
        raise SettingError(
            f"torchvision has no detector {name!r} here; valid names: {', '.join(MODEL_NAMES)}"
        )
    build = getattr(torchvision.models.detection, name)
    if weights is None:
        try:
            model = build(weights="DEFAULT")
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise DataError(
                f"the official weights of {name} cannot be downloaded ({error}); pass a state "
                "dict that you have: "
                f"torchvision:{name},weights=FILE"
            ) from error
        return TorchvisionDetector(model, category_ids(90), device)
    state = read_tensors(weights)
    key = "roi_heads.box_predictor.cls_score.weight"
    if key not in state:
        raise DataError(f"{weights} holds no weights of torchvision's {name}: it lacks {key}")
    num_classes = len(state[key])
    model = build(weights=None, weights_backbone=None, num_classes=num_classes)
    load_tensors(model, state, weights)
    return TorchvisionDetector(model, category_ids(num_classes - 1), device)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
