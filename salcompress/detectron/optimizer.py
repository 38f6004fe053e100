"""The optimizer of a codec in front of a detector."""

import logging
from typing import Any

import torch
from torch import nn

from salcompress.detectron.model import CompressedDetector
from salcompress.errors import DataError, SettingError
from salcompress.models.quality_map import Gain

logger = logging.getLogger(__name__)
_MOST_SKIPPED = 50


class ClippedAdamW(torch.optim.AdamW):
    """AdamW that clips the norm of all gradients together, and passes over a step whose gradients
    are not finite.

    Args:
        model: A :class:`~salcompress.detectron.model.CompressedDetector`, or one within
            DistributedDataParallel.
        codec_lr: Learning rate of the codec.
        detector_lr: Learning rate of the detector.
        gain_lr: Learning rate of the gains that give each channel its step size at each level; that
            of the codec where it is None. They are logarithms, and a factor of 2 is many steps away
            at the rate of the other weights.
        weight_decay: Weight decay of both.
        max_norm: Bound on the norm of the gradients; 0 does not clip. 1 is what the codec's own
            training has.

    Raises:
        SettingError: The model is no CompressedDetector.
        DataError: Fifty steps on end had gradients that are not finite; said while training.
    """

    def __init__(
        self,
        model: nn.Module,
        codec_lr: float = 1e-4,
        detector_lr: float = 1e-4,
        weight_decay: float = 0.0,
        max_norm: float = 1.0,
        gain_lr: float | None = None,
    ):
        model = getattr(model, "module", model)
        if not isinstance(model, CompressedDetector):
            raise SettingError(
                f"ClippedAdamW is for a CompressedDetector, got {type(model).__name__}"
            )
        groups = []
        gains = {
            parameter
            for module in model.codec.modules()
            if isinstance(module, Gain)
            for parameter in module.parameters()
        }
        codec = set(model.codec.parameters()) - gains
        for part, rate in (
            (codec, codec_lr),
            (gains, codec_lr if gain_lr is None else gain_lr),
            (set(model.detector.parameters()), detector_lr),
        ):
            trained = [p for p in model.parameters() if p in part and p.requires_grad]
            if trained:
                groups.append({"params": trained, "lr": rate})
        super().__init__(groups, lr=codec_lr, weight_decay=weight_decay)
        self.max_norm, self._skipped = max_norm, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.max_norm or float("inf"))
        if torch.isfinite(norm):
            self._skipped = 0
            return super().step(closure)
        self._skipped += 1
        logger.warning("a step was passed over: its gradients are not finite")
        if self._skipped == _MOST_SKIPPED:
            raise DataError(
                f"{_MOST_SKIPPED} steps on end had gradients that are not finite; go on from the "
                "last checkpoint with a lower learning rate"
            )
        return None
