"""Detectron2's test-time augmentation, wherever pictures lie."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import DatasetMapperTTA, GeneralizedRCNN, GeneralizedRCNNWithTTA
from torch import nn

from salcompress.errors import SettingError


class _OnHost(DatasetMapperTTA):
    """Detectron2's mapper, which resizes by NumPy, of pictures that may lie on a GPU."""

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        return super().__call__(dataset_dict | {"image": dataset_dict["image"].cpu()})


class _Augmented(GeneralizedRCNNWithTTA):
    """Detectron2's model with test-time augmentation, which sees several sizes of a picture."""

    def input_size(self, height: int, width: int) -> None:
        return None


def augmented_at_test(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """A model with the config's test-time augmentation, or as it is where ``TEST.AUG.ENABLED`` is
    off.

    Raises:
        SettingError: The augmentation is of Detectron2's R-CNN models without keypoints, and this
            is another.
    """
    if not cfg.TEST.AUG.ENABLED:
        return model
    if not isinstance(model, GeneralizedRCNN) or cfg.MODEL.KEYPOINT_ON or cfg.MODEL.LOAD_PROPOSALS:
        raise SettingError(
            "TEST.AUG is of Detectron2's GeneralizedRCNN without keypoints and precomputed "
            f"proposals, not of {type(model).__name__} as configured here: set TEST.AUG.ENABLED "
            "to False"
        )
    return _Augmented(cfg, model, tta_mapper=_OnHost(cfg))
