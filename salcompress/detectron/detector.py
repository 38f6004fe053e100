"""Any Detectron2 model as a detector of ``salcompress evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import build_model
from torch import nn

from salcompress.detectors.base import check_num_classes
from salcompress.detectron.augmentation import as_rgb, check_image_format
from salcompress.detectron.config import add_salcompress_config
from salcompress.errors import DataError, SettingError
from salcompress.files import digest, read_file
from salcompress.image import check_image
from salcompress.spec import parse_spec, single_options


class Detectron2Detector:
    """A Detectron2 model with its config's test-time resize, as a
    :class:`~salcompress.detectors.base.Detector`.

    Args:
        model: Any model that takes ``[{"image", "height", "width"}]`` and gives ``"instances"``;
            put in eval mode.
        cfg: Its config: input format, test size and number of classes.
        category_ids: The data set's ids in their order; class k of the model is the k-th.
        label: What reports call the detector.

    Attributes:
        label: As given.
        fingerprint: Digest of the config and of its weights file.
    """

    def __init__(
        self, model: nn.Module, cfg: CfgNode, category_ids: Sequence[int], label: str = ""
    ):
        check_image_format(cfg.INPUT.FORMAT)
        self.model, self.image_format = model.eval(), cfg.INPUT.FORMAT
        weights = Path(cfg.MODEL.WEIGHTS)
        self.fingerprint = digest(cfg.dump(), read_file(weights) if weights.is_file() else b"")
        self.resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
        single_stage = cfg.MODEL.META_ARCHITECTURE in ("RetinaNet", "FCOS")
        heads = cfg.MODEL.RETINANET if single_stage else cfg.MODEL.ROI_HEADS
        self.label, self.category_ids = label or cfg.MODEL.META_ARCHITECTURE, tuple(category_ids)
        check_num_classes(self.label, heads.NUM_CLASSES, category_ids)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        check_image(image)
        height, width = image.shape[:2]
        picture = as_rgb(image, self.image_format)
        resized = self.resize.get_transform(picture).apply_image(picture)
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=np.float32))
        found = self.model([{"image": tensor, "height": height, "width": width}])[0][
            "instances"
        ].to("cpu")
        results = instances_to_coco_json(found, 0)
        for result in results:
            del result["image_id"]
            result["category_id"] = int(self.category_ids[result["category_id"]])
        return results


def load_detectron2_detector(spec: str, category_ids: Sequence[int]) -> Detectron2Detector:
    """The detector of ``detectron2:CONFIG[,weights=FILE][,device=cpu]``.

    Args:
        spec: CONFIG is a file, or a name of the model zoo such as
            COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml, whose trained weights are then downloaded
            if no file is given.

    Raises:
        SettingError: The config or the file does not exist.
        DataError: The weights cannot be loaded or downloaded.
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
    if "weights" in options:
        if not Path(options["weights"]).is_file():
            raise SettingError(f"weights file {options['weights']} does not exist")
        cfg.MODEL.WEIGHTS = options["weights"]
    elif not Path(parsed.argument).is_file():
        try:
            cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(parsed.argument)
        except RuntimeError as error:
            raise DataError(
                f"the model zoo has no weights for {parsed.argument}; pass a file: "
                f"detectron2:{parsed.argument},"
                "weights=FILE"
            ) from error
    cfg.MODEL.DEVICE = options.get("device", "cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = build_model(cfg)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"{spec!r} cannot be built: {str(error).splitlines()[0]}") from error
    if cfg.MODEL.WEIGHTS:
        try:
            DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        except Exception as error:  # network, pickle and format errors of many kinds
            raise DataError(
                f"weights {cfg.MODEL.WEIGHTS} cannot be loaded ({type(error).__name__}); pass a "
                "file that you have: "
                f"detectron2:{parsed.argument},weights=FILE"
            ) from error
    return Detectron2Detector(model, cfg, category_ids, spec)


def load_config(name: str) -> CfgNode:
    """A config, salcompress's node included, from a file or a name of the model zoo.

    Raises:
        SettingError: Neither exists.
    """
    cfg = get_cfg()
    add_salcompress_config(cfg)
    cfg.merge_from_file(config_path(name))
    return cfg


def config_path(name: str) -> str:
    """File of a config given as a file or by its name in the model zoo.

    Raises:
        SettingError: Neither exists.
    """
    if Path(name).is_file():
        return name
    try:
        path = model_zoo.get_config_file(name)
    except RuntimeError:
        path = ""
    if not Path(path).is_file():
        raise SettingError(
            f"{name!r} is neither a config file nor a config of Detectron2's model zoo"
        )
    return path
