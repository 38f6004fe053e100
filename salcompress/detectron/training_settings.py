"""What a training with the codec in the model learns, from what, and at which rates."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from salcompress.errors import SettingError

TRAINS = ("codec", "detector", "both")


class LossWeights(NamedTuple):
    """Weights of the terms; each as of the key of its name in ``cfg.SALCOMPRESS.MODEL``."""

    rate: float = 1.0
    distortion: float = 0.1
    saliency: float = 0.0
    perceptual: float = 0.0
    task: float = 1.0
    distillation: float = 0.0


class QualitySchedule(NamedTuple):
    """Range of qualities that training draws from, by iteration."""

    low: float = 0.0
    high: float = 0.4
    start_low: float = 0.0
    start_high: float = 0.4
    iterations: int = 0
    """In which the range moves linearly from its start to where it stays."""

    def range_at(self, iteration: int) -> tuple[float, float]:
        """Lowest and highest quality."""
        done = min(1.0, iteration / self.iterations) if self.iterations else 1.0
        low = self.start_low + done * (self.low - self.start_low)
        return low, self.start_high + done * (self.high - self.start_high)


def quality_schedule(
    quality: Sequence[float], start: Sequence[float], iterations: int
) -> QualitySchedule:
    """The schedule of the config's keys QUALITY, QUALITY_START and QUALITY_ITERS.

    Raises:
        SettingError: A range is not of two numbers.
    """
    for key, given in (("QUALITY", quality), ("QUALITY_START", start)):
        if len(given) != 2:
            raise SettingError(f"SALCOMPRESS.MODEL.{key} must be [low, high], got {list(given)}")
    return QualitySchedule(quality[0], quality[1], start[0], start[1], iterations)


def check_training(
    detector: nn.Module, trains: str, labels: bool, weights: LossWeights, quality: QualitySchedule
) -> None:
    """Raise unless a training by these settings has something to learn, and to learn from.

    Raises:
        SettingError: A value is out of its range, there is nothing to learn from, or the detector
            has no backbone whose features could be compared.
    """
    if trains not in TRAINS:
        raise SettingError(f"trains must be one of {', '.join(TRAINS)}, got {trains!r}")
    if min(weights) < 0:
        raise SettingError(f"weights must be at least 0, got {weights}")
    for low, high in ((quality.low, quality.high), (quality.start_low, quality.start_high)):
        if not 0 <= low <= high <= 1:
            raise SettingError(
                f"qualities must be [low, high] with 0 <= low <= high <= 1, got [{low}, {high}]"
            )
    if not labels and (trains != "codec" or not weights.distillation):
        raise SettingError(
            "without labels there is distillation to teach a codec, and nothing to teach a "
            "detector: set trains to codec and a distillation weight above 0"
        )
    has_features = hasattr(detector, "backbone") and hasattr(detector, "preprocess_image")
    if distils(trains, weights) and not has_features:
        raise SettingError(
            f"distillation compares backbone features, and {type(detector).__name__} has no "
            "backbone and preprocess_image"
        )


def check_teachers(teachers: Sequence[object], trains: str, weights: LossWeights) -> None:
    """Raise where further teachers would be without effect.

    Raises:
        SettingError: There are teachers and no codec that distils.
    """
    if teachers and not distils(trains, weights):
        raise SettingError(
            "teachers compare features: set a distillation weight above 0, and trains to codec or "
            "both"
        )


def distils(trains: str, weights: LossWeights) -> bool:
    """Whether the detector's features on compressed and on original pictures are compared."""
    return weights.distillation > 0 and trains != "detector"
