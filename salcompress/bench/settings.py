"""What the bench of Detectron2 measures, and how often."""

import dataclasses
from typing import Any

import torch

from salcompress.codecs import SalientCodec, load_codec
from salcompress.codecs.salient.networks import check_device
from salcompress.errors import SettingError

VARIANTS = {
    "none": "without a codec",
    "mapper": "codec in the mapper",
    "stored": "from stored streams",
    "gpu": "codec behind the loader",
    "codec": "codec in the model, trained for a frozen detector",
    "detector": "codec in the model, frozen, and the detector trained",
}
"""Places of the codec in a training, by name. The first is what the others are compared with."""


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """What is measured, and how often; the defaults take minutes on two CPU cores.

    Attributes:
        device: "cpu", "cuda", ...
        codec: Specification of the learned codec at one quality, without a device.
        batches: Batch sizes of the stage. 1, which the others are compared with, comes in any case.
        images: How many images go through the stage for one timing.
        variants: Names of ``VARIANTS``, which training measures. "none" comes in any case.
        images_per_step: Images of one training step.
        detector: Config of the detector, a file or a name of the model zoo.
        min_size: Shorter side to which the detector's pictures are resized.
        workers: Processes of the loader.
        repeat: Timings behind each median.
        steps: Training steps behind one timing.
        warm_up: Steps before them, from a loader that begins afresh.
        round_s: Seconds after which warm-up, or what is timed, ends before its last step.

    Raises:
        SettingError: A setting cannot be used.
    """

    device: str
    codec: str = "salient:q=0.3"
    batches: tuple[int, ...] = (1, 4)
    images: int = 8
    variants: tuple[str, ...] = tuple(VARIANTS)
    images_per_step: int = 2
    detector: str = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    min_size: int = 256
    workers: int = 1
    repeat: int = 3
    steps: int = 2
    warm_up: int = 1
    round_s: float = 30.0

    def __post_init__(self):
        check_device(self.device)
        if torch.device(self.device).type == "cpu":  # "cpu:0" is another name
            object.__setattr__(self, "device", "cpu")
        codec = load_codec(self.codec)
        if not isinstance(codec, SalientCodec) or codec.device:
            raise SettingError(
                "codec must be the learned one without a device, such as salient:q=0.3; got "
                f"{self.codec!r}"
            )
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown:
            raise SettingError(f"unknown variant {unknown[0]!r}; valid: {', '.join(VARIANTS)}")
        for name in ("images_per_step", "min_size", "repeat", "steps", "warm_up", "round_s"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} must be positive, got {getattr(self, name)}")
        object.__setattr__(self, "batches", tuple(sorted({1, *self.batches})))
        object.__setattr__(
            self, "variants", tuple(name for name in VARIANTS if name in ("none", *self.variants))
        )
        if self.batches[0] < 1 or self.workers < 0:
            raise SettingError(
                f"batches must be at least 1 and workers at least 0, got {self.batches[0]} and "
                f"{self.workers}"
            )
        if self.images < self.batches[-1]:
            raise SettingError(
                f"images must be at least the largest batch, {self.batches[-1]}; got {self.images}"
            )

    def codec_on(self, device: str) -> str:
        """Specification of the codec on a device."""
        return f"{self.codec}{',' if ':' in self.codec else ':'}device={device}"


def default_settings(device: str, **others: Any) -> BenchSettings:
    """Settings that suit a device: the usual sizes on a GPU.

    Args:
        others: What is to be otherwise, by name.

    Raises:
        SettingError: A setting cannot be used.
    """
    on_gpu: dict[str, Any] = {
        "batches": (1, 4, 16),
        "images": 128,
        "images_per_step": 8,
        "min_size": 800,
        "workers": 2,
        "repeat": 5,
        "steps": 20,
        "warm_up": 5,
    }
    return BenchSettings(device, **({} if device.startswith("cpu") else on_gpu) | others)
