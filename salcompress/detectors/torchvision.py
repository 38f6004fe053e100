"""torchvision's Faster R-CNN and Mask R-CNN as detectors."""

import functools
import urllib.error
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from pycocotools import mask as mask_util
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from salcompress.data.coco import COCO_CATEGORY_IDS
from salcompress.detectors.base import check_num_classes
from salcompress.detectors.fingerprints import network_fingerprint
from salcompress.errors import DataError, SettingError
from salcompress.image import check_image, to_tensor
from salcompress.models.weight_file import load_tensors, read_tensors
from salcompress.spec import parse_spec, single_options

MODEL_NAMES = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
)
OPTIONS = {"weights": "file with the state dict", "device": "cpu, cuda, cuda:1, ..."}
_NUM_OFFICIAL_CLASSES = 90
"""Labels of torchvision's COCO weights: COCO's ids up to 90, the ten that COCO leaves out, too."""


class TorchvisionDetector:
    """A detection model of torchvision's interface as a
    :class:`~salcompress.detectors.base.Detector`.

    Args:
        model: Takes a list of float (3, H, W) in [0, 1]; gives boxes, labels from 1, scores and
            perhaps masks.
        categories: Category id of label 1, 2, ...
        label: What reports call it.
        device: Where it runs; CUDA where there is one if None.

    Attributes:
        label: As given.
        fingerprint: Of the network's class, of its weights and of the categories.

    Raises:
        SettingError: There is no such device here.
    """

    def __init__(
        self, model: nn.Module, categories: Sequence[int], label: str, device: str | None = None
    ):
        self.label = label
        self.fingerprint = network_fingerprint(model, repr(model), str(list(categories)))
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.model = model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise SettingError(
                f"device {device!r} cannot be used here: {_first_line(error)}"
            ) from error
        self.categories = categories

    def input_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of what the network sees of an image; None where the model does not say,
        as of :func:`resized_size`.
        """
        return resized_size(self.model, height, width)

    @property
    def networks(self) -> tuple[nn.Module]:
        """The model, as of :class:`~salcompress.detectors.base.Detector`."""
        return (self.model,)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        """COCO results in an image, uint8 (H, W, 3), RGB."""
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


def resized_size(model: nn.Module, height: int, width: int) -> tuple[int, int] | None:
    """Height and width to which a detection model of torchvision resizes an image at test, before
    it pads; None where the model has no transform of torchvision's kind.
    """
    transform = getattr(model, "transform", None)
    if not isinstance(transform, GeneralizedRCNNTransform):
        return None
    sides = tuple(transform.min_size), transform.max_size, transform.fixed_size
    return _resized_size(*sides, height, width)


@functools.lru_cache(16384)  # it takes 4 ms, and COCO has a few thousand sizes
def _resized_size(
    min_size: tuple[int, ...],
    max_size: int,
    fixed_size: tuple[int, int] | None,
    height: int,
    width: int,
) -> tuple[int, int]:
    """What torchvision's own transform makes of an image without pixels."""
    transform = GeneralizedRCNNTransform(
        min_size, max_size, [0.0] * 3, [1.0] * 3, fixed_size=fixed_size
    ).eval()
    resized, _ = transform.resize(torch.empty(3, height, width, device="meta"))
    return resized.shape[-2], resized.shape[-1]


def load_torchvision_detector(spec: str, category_ids: Sequence[int] | None) -> TorchvisionDetector:
    """The detector of ``torchvision:NAME[,weights=FILE][,device=cpu]``.

    Without a file it has the official COCO weights, from torch's cache or the network. Their labels
    are COCO's category ids, so they need a data set whose ids are among COCO's 80. With a file,
    label k is the k-th of the data set's ids; a file of 90 labels is read as the official weights.

    Args:
        spec: NAME is one of ``MODEL_NAMES``; the number of classes is read off the file, which is
            .pth or .safetensors.
        category_ids: The data set's category ids, sorted. None stands for the model's own labels.

    Raises:
        SettingError: The specification is wrong, the file is missing, or the data set has other
            categories.
        DataError: The weights are damaged or of another model, or the official ones cannot be
            downloaded.
    """
    parsed = parse_spec(spec)
    options = single_options(spec, parsed, OPTIONS)
    if parsed.argument is None:
        raise SettingError(
            f"{spec!r} names no model; write torchvision:NAME with one of {', '.join(MODEL_NAMES)}"
        )
    if parsed.argument not in MODEL_NAMES:
        raise SettingError(
            f"torchvision has no detector {parsed.argument!r} here; valid names: "
            f"{', '.join(MODEL_NAMES)}"
        )
    if "weights" in options:
        model, num_classes = _model_of_file(parsed.argument, options["weights"])
    else:
        if category_ids is not None:
            _check_coco_ids(spec, category_ids)
        model, num_classes = _official_model(parsed.argument), _NUM_OFFICIAL_CLASSES
    if category_ids is None:
        category_ids = range(1, num_classes + 1)
    categories = category_ids
    if num_classes == _NUM_OFFICIAL_CLASSES != len(category_ids):
        _check_coco_ids(spec, category_ids)
        categories = range(1, _NUM_OFFICIAL_CLASSES + 1)
    check_num_classes(spec, num_classes, categories)
    return TorchvisionDetector(model, categories, spec, options.get("device"))


def _official_model(name: str) -> nn.Module:
    try:
        return getattr(torchvision.models.detection, name)(weights="DEFAULT")
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"the official weights of {name} cannot be downloaded ({error}); pass a state dict "
            f"that you have: torchvision:{name},weights=FILE"
        ) from error


def _model_of_file(name: str, weights: str) -> tuple[nn.Module, int]:
    """The model with the weights of a file, and its number of classes without the background."""
    state = read_tensors(weights)
    key = "roi_heads.box_predictor.cls_score.weight"
    if key not in state:
        raise DataError(f"{weights} holds no weights of torchvision's {name}: it lacks {key}")
    num_labels = len(state[key])
    build = getattr(torchvision.models.detection, name)
    model = build(weights=None, weights_backbone=None, num_classes=num_labels)
    load_tensors(model, state, weights)
    return model, num_labels - 1


def _check_coco_ids(spec: str, category_ids: Sequence[int]) -> None:
    """Raise unless the labels of the official weights mean something in the data set."""
    foreign = sorted(set(category_ids) - set(COCO_CATEGORY_IDS))
    if foreign:
        raise SettingError(
            f"detector {spec} has {_NUM_OFFICIAL_CLASSES} labels that are COCO's category ids, "
            f"and the data set has {len(category_ids)} categories, of which id {foreign[0]} is "
            "none of COCO's; give weights that were trained for this data set"
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
