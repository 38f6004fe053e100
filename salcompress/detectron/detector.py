"""Any Detectron2 model as a detector of ``salcompress evaluate``."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from salcompress.detectron.augmented_inference import augmented_at_test
from salcompress.detectron.checkpoint import load_for_evaluation
from salcompress.detectron.config import load_config
from salcompress.detectron.image_format import as_rgb, check_image_format, check_model_format
from salcompress.detectron.seen_size import seen_size
from salcompress.errors import DataError, SettingError
from salcompress.files import digest
from salcompress.image import check_image
from salcompress.spec import parse_spec, single_options

logger = logging.getLogger(__name__)
MOST_COUNTED = 100
"""Detections of an image that COCO's AP counts."""


class Detectron2Detector:
    """A Detectron2 model with its config's test-time resize, as a
    :class:`~salcompress.detectors.base.Detector`.

    Where the config has ``TEST.AUG.ENABLED``, the model is Detectron2's with test-time
    augmentation.

    Args:
        model: Any model that takes ``[{"image", "height", "width"}]`` and gives ``"instances"``;
            put in eval mode.
        cfg: Its config: input format, test size and number of classes.
        category_ids: The data set's ids in their order; class k of the model is the k-th.
        label: What reports call the detector.

    Attributes:
        label: As given.
        fingerprint: Digest of the config, the weights and the category ids, not of any path.

    Raises:
        SettingError: The model has another number of classes than there are categories, or its
            input format is not that of the config.
    """

    def __init__(
        self, model: nn.Module, cfg: CfgNode, category_ids: Sequence[int], label: str = ""
    ):
        check_image_format(cfg.INPUT.FORMAT)
        check_model_format(model, cfg.INPUT.FORMAT)
        check_class_count(cfg, len(category_ids), label or cfg.MODEL.META_ARCHITECTURE)
        self.category_ids = tuple(category_ids)
        self.label = label or model_label(cfg)
        self.fingerprint = model_fingerprint(model, cfg, self.category_ids)
        self.model, self.image_format = augmented_at_test(model, cfg).eval(), cfg.INPUT.FORMAT
        self.resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)

    def input_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of what the network sees of an image, padding not counted; None under
        test-time augmentation, which shows it several sizes.
        """
        shortest = self.resize.short_edge_length[0]
        if shortest:
            height, width = self.resize.get_output_shape(
                height, width, shortest, self.resize.max_size
            )
        return seen_size(self.model, height, width)

    @property
    def networks(self) -> tuple[nn.Module]:
        """The model, as of :class:`~salcompress.detectors.base.Detector`."""
        return (self.model,)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        check_image(image)
        height, width = image.shape[:2]
        picture = as_rgb(image, self.image_format)
        resized = self.resize.get_transform(picture).apply_image(picture)
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        output = self.model([{"image": tensor, "height": height, "width": width}])[0]
        return coco_results(output["instances"], self.category_ids)


def coco_results(instances: Instances, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Instances of one picture as COCO results without ``image_id``.

    Args:
        category_ids: Class k of the model is the k-th of them.
    """
    results = instances_to_coco_json(instances.to("cpu"), 0)
    for result in results:
        del result["image_id"]
        result["category_id"] = int(category_ids[result["category_id"]])
    return results


def check_class_count(cfg: CfgNode, num_categories: int, name: str) -> None:
    """Raise unless a model has a class for each category of a data set.

    Raises:
        SettingError: It has more or fewer.
    """
    key, num_classes = num_classes_of(cfg)
    if num_classes != num_categories:
        raise SettingError(
            f"{name} finds {num_classes} classes ({key}.NUM_CLASSES), and the data set has "
            f"{num_categories} categories: class k is the k-th category id, so the numbers must "
            "be equal"
        )


def num_classes_of(cfg: CfgNode) -> tuple[str, int]:
    """Where a config says how many classes its model has, and how many these are."""
    if cfg.MODEL.META_ARCHITECTURE in ("RetinaNet", "FCOS"):
        return "MODEL.RETINANET", cfg.MODEL.RETINANET.NUM_CLASSES
    return "MODEL.ROI_HEADS", cfg.MODEL.ROI_HEADS.NUM_CLASSES


def model_label(cfg: CfgNode) -> str:
    """What reports call the model of a config: its kind and its weights."""
    return f"{cfg.MODEL.META_ARCHITECTURE}({cfg.MODEL.WEIGHTS})"


def model_fingerprint(model: nn.Module, cfg: CfgNode, category_ids: Sequence[int]) -> str:
    """Digest of what a model computes: config, tensors and the categories that its classes are."""
    content = cfg.clone()
    content.defrost()
    # paths, devices and what concerns training alone: they change no detection
    content.MODEL.WEIGHTS = content.MODEL.DEVICE = content.OUTPUT_DIR = ""
    parts = [content[part].dump() for part in ("MODEL", "INPUT", "TEST")]
    for name, tensor in model.state_dict().items():
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}")
        parts.append(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest(*parts, ",".join(map(str, category_ids)))


def load_detectron2_detector(spec: str, category_ids: Sequence[int] | None) -> Detectron2Detector:
    """The detector of ``detectron2:CONFIG[,weights=FILE][,device=cpu]``.

    Args:
        spec: CONFIG is a YAML file, or a name of the model zoo such as
            COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml, whose trained weights are then downloaded
            if no file is given.
        category_ids: The data set's ids in their order; class k of the model is the k-th. None
            stands for numbers from 1.

    Raises:
        SettingError: The config or the file does not exist, there are no weights, or the model has
            another number of classes than the data set.
        DataError: The weights cannot be loaded or downloaded, or are of another model.
    """
    parsed = parse_spec(spec)
    options = single_options(
        spec, parsed, {"weights": "checkpoint file", "device": "cpu, cuda, cuda:1, ..."}
    )
    if parsed.argument is None:
        raise SettingError(
            f"{spec!r} names no config; write "
            "detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml, or a file"
        )
    cfg = load_config(parsed.argument)
    if category_ids is None:
        category_ids = range(1, num_classes_of(cfg)[1] + 1)
    check_class_count(cfg, len(category_ids), spec)
    cfg.MODEL.WEIGHTS = _weights(parsed.argument, options.get("weights"), cfg)
    cfg.MODEL.DEVICE = options.get("device", "cuda" if torch.cuda.is_available() else "cpu")
    if cfg.TEST.DETECTIONS_PER_IMAGE > MOST_COUNTED:
        logger.warning(
            "%s: AP counts the %d best detections of an image, not TEST.DETECTIONS_PER_IMAGE %d",
            spec,
            MOST_COUNTED,
            cfg.TEST.DETECTIONS_PER_IMAGE,
        )
    model = built_model(cfg, spec)
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    return Detectron2Detector(model, cfg, category_ids, spec)


def built_model(cfg: CfgNode, name: str) -> nn.Module:
    """The model of a config, with weights drawn at random.

    Raises:
        SettingError: A part of the model is unknown, or its device cannot be used.
    """
    try:
        return build_model(cfg)
    except (RuntimeError, AssertionError, KeyError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise SettingError(f"{name!r} cannot be built: {reason}") from error


def _weights(config: str, given: str | None, cfg: CfgNode) -> str:
    """Where the weights of a specification are: a file, or an address of the model zoo."""
    if given is not None:
        if not Path(given).is_file():
            raise SettingError(f"weights file {given} does not exist")
        return given
    if Path(config).is_file():
        return cfg.MODEL.WEIGHTS
    try:
        return model_zoo.get_checkpoint_url(config)
    except RuntimeError as error:
        raise DataError(
            f"the model zoo has no weights for {config}; pass a file: "
            f"detectron2:{config},weights=FILE"
        ) from error
