"""Any Detectron2 model behind the learned codec, which is differentiable in training and hard at
test.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.codecs import load_codec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.detectron.augmentation import check_image_format
from salcompress.detectron.device_transforms import apply_transforms
from salcompress.errors import SettingError
from salcompress.image import bits_per_pixel
from salcompress.models.lagrangian import lambda_of
from salcompress.training.differentiable_codec import DifferentiableCodec, SoftlyCoded
from salcompress.training.losses import feature_distance

logger = logging.getLogger(__name__)
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
        return self.start_low + done * (self.low - self.start_low), self.start_high + done * (
            self.high - self.start_high
        )


class CompressedDetector(nn.Module):
    """A detector that sees what the learned codec leaves of its pictures.

    Around any model that takes Detectron2's list of dicts and reads ``x["image"]``: in training it
    returns a dict of losses, at test a list. If a dict has ``transforms`` (from
    :class:`~salcompress.detectron.original_mapper.OriginalImageMapper`), its image is the original
    one, and the resize, flips and crops follow the codec; else the codec sees the image as it is,
    and rates are per pixel of that.

    A codec in training is a
    :class:`~salcompress.training.differentiable_codec.DifferentiableCodec`, whose rates are
    estimates. At test, and in front of a detector that is trained alone, each picture is what the
    stream of the present weights decodes to, and the dict gets that stream's ``num_bits`` and
    ``bpp``: the length of that stream with ``real_streams``, else counted, within 64 bits.

    To the codec the loss of an image of quality level l, with lambda(l) as in the codec's own
    training, is in bits per pixel ``loss_rate`` + ``loss_distortion`` + ``loss_perceptual`` + task
    weight x lambda(l) / lambda(middle) x (the detector's losses + ``loss_distillation``), all over
    sqrt(lambda(l) / lambda(middle)) so that low rates train as eagerly as high ones. The detector's
    losses and ``loss_distillation`` are returned without these factors, which scale their gradient
    where it enters the codec: the detector's own parameters learn as ever. Our choice.

    Args:
        detector: The model; with ``backbone`` and ``preprocess_image``, as GeneralizedRCNN has, if
            features are to be compared.
        codec: The codec to begin with, "salient:..." or a SalientCodec: its quality is that of
            tests, its saliency steers.
        trains: "codec", "detector" or "both".
        labels: Whether the detector's own losses are used.
        weights: Of the terms of the loss.
        quality: Where training draws qualities from.
        image_format: "BGR" or "RGB", how the images' channels lie.
        distilled_features: Names of the features compared; all if empty.
        mixed_precision: bfloat16 in the transforms while training.
        real_streams: At test, write streams, whose length is the rate; else it is counted, within
            64 bits.

    Attributes:
        codec: The DifferentiableCodec. It lies on the detector's device, whatever its specification
            says.
        detector: The model.
        iteration: Of the schedule: that of Detectron2's event storage where there is one, so that
            it resumes with the training; else of training passes so far.
        last: The LastImage that went through the codec in training, for the logs; None before.

    Raises:
        SettingError: A setting is wrong, there is nothing to learn from, or the detector has no
            backbone for distillation.
    """

    def __init__(
        self,
        detector: nn.Module,
        codec: SalientCodec | str = "salient:q=0.3",
        *,
        trains: str = "codec",
        labels: bool = True,
        weights: LossWeights | Sequence[float] = LossWeights(),
        quality: QualitySchedule | Sequence[float] = QualitySchedule(),
        image_format: str = "BGR",
        distilled_features: Sequence[str] = (),
        mixed_precision: bool = True,
        real_streams: bool = False,
    ):
        super().__init__()
        check_image_format(image_format)
        codec = load_codec(codec) if isinstance(codec, str) else codec
        if not isinstance(codec, SalientCodec):
            raise SettingError(
                "only the learned codec is differentiable: the codec of stage model must be "
                f"salient:..., got {codec.label}"
            )
        if trains not in TRAINS:
            raise SettingError(f"trains must be one of {', '.join(TRAINS)}, got {trains!r}")
        weights, quality = LossWeights(*weights), QualitySchedule(*quality)
        if min(weights) < 0:
            raise SettingError(f"weights must be at least 0, got {weights}")
        for name in ("", "start_"):
            low, high = getattr(quality, f"{name}low"), getattr(quality, f"{name}high")
            if not 0 <= low <= high <= 1:
                raise SettingError(
                    f"qualities must be [low, high] with 0 <= low <= high <= 1, got [{low}, {high}]"
                )
        if not labels and (trains != "codec" or not weights.distillation):
            raise SettingError(
                "without labels there is distillation to teach a codec, and nothing to teach a "
                "detector: set trains to codec and a "
                "distillation weight above 0"
            )
        distils = weights.distillation > 0 and trains != "detector"
        if distils and not (
            hasattr(detector, "backbone") and hasattr(detector, "preprocess_image")
        ):
            raise SettingError(
                f"distillation compares backbone features, and {type(detector).__name__} has no "
                "backbone and preprocess_image"
            )
        self.detector, self.image_format, self.weights, self.quality = (
            detector,
            image_format,
            weights,
            quality,
        )
        self.trains, self.labels, self.distilled_features, self._distils = (
            trains,
            labels,
            tuple(distilled_features),
            distils,
        )
        self.real_streams = real_streams
        device = next((p.device for p in detector.parameters()), torch.device("cpu"))
        self.codec = DifferentiableCodec(
            codec,
            device,
            saliency_weight=weights.saliency,
            mixed_precision=mixed_precision,
            perceptual_weight=0.0 if trains == "detector" else weights.perceptual,
        )
        self.codec.requires_grad_(trains != "detector")
        if trains == "codec":
            detector.requires_grad_(False)
        if trains != "detector" and hasattr(detector, "vis_period"):
            detector.vis_period = (
                0  # Detectron2 would draw on pictures that carry gradients, and fail
            )
        self.iteration, self.last = 0, None
        self._batched: BatchedCodec | None = None
        self.train(self.training)

    @classmethod
    def from_config(cls, cfg: CfgNode, detector: nn.Module) -> "CompressedDetector":
        """Around a detector as ``cfg.SALCOMPRESS.MODEL`` says.

        Raises:
            SettingError: As of the constructor.
        """
        node = cfg.SALCOMPRESS.MODEL
        for key in ("QUALITY", "QUALITY_START"):
            if len(node[key]) != 2:
                raise SettingError(
                    f"SALCOMPRESS.MODEL.{key} must be [low, high], got {list(node[key])}"
                )
        weights = LossWeights(
            node.RATE_WEIGHT,
            node.DISTORTION_WEIGHT,
            node.SALIENCY_WEIGHT,
            node.PERCEPTUAL_WEIGHT,
            node.TASK_WEIGHT,
            node.DISTILLATION_WEIGHT,
        )
        return cls(
            detector,
            node.CODEC,
            trains=node.TRAINS,
            labels=node.LABELS,
            weights=weights,
            image_format=cfg.INPUT.FORMAT,
            quality=QualitySchedule(*node.QUALITY, *node.QUALITY_START, node.QUALITY_ITERS),
            mixed_precision=node.MIXED_PRECISION,
            distilled_features=node.DISTILLATION_FEATURES,
            real_streams=cfg.SALCOMPRESS.TEST_STREAMS,
        )

    @property
    def device(self) -> torch.device:
        return self.codec.device

    def train(self, mode: bool = True) -> "CompressedDetector":
        """Modules that are not trained keep the behaviour of evaluation, but for what a detector
        needs to give losses.
        """
        super().train(mode)
        if mode and self.trains == "codec":
            for module in self.detector.modules():
                if isinstance(
                    module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
                ):
                    module.eval()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batched": None}  # its threads cannot be copied; it is made anew

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses while training, else the detector's outputs.

        Raises:
            SettingError: A dict has no image of a kind that a codec takes.
            DataError: The codec cannot hold an image; the message names its file.
        """
        originals = [self._original(x) for x in batched_inputs]
        if not self.training:
            return self.detector(
                self._compressed(
                    batched_inputs, originals, [self.codec.start.quality] * len(originals)
                )
            )
        if has_event_storage():
            self.iteration = get_event_storage().iter
        low, high = self.quality.range_at(self.iteration)
        self.iteration += torch.is_grad_enabled()
        qualities = (low + (high - low) * torch.rand(len(originals))).tolist()
        self.last = LastImage(originals[-1], qualities[-1])
        if self.trains == "detector":
            inputs = self._compressed(batched_inputs, originals, qualities)
            if has_event_storage():
                get_event_storage().put_scalar(
                    "salcompress/bpp",
                    sum(x["num_bits"] for x in inputs) / sum(o[0].numel() for o in originals),
                )
            return self.detector(inputs)
        return self._losses(batched_inputs, originals, qualities)

    def _original(self, x: Mapping[str, Any]) -> Tensor:
        """Image of a dict as uint8 RGB (3, H, W), on the codec's device."""
        if "image" not in x:
            raise SettingError(
                'CompressedDetector needs x["image"], a tensor (3, H, W); the dict has '
                f"{', '.join(sorted(x))}: another input cannot be coded"
            )
        image = x["image"]
        if (
            not isinstance(image, Tensor)
            or image.dim() != 3
            or image.shape[0] != 3
            or not image.numel()
        ):
            came = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise SettingError(f'x["image"] must be a tensor (3, H, W), got {came}')
        image = image.to(self.device)
        if image.dtype != torch.uint8:
            image = image.round().clamp(0, 255).to(torch.uint8)
        return image.flip(0) if self.image_format == "BGR" else image

    @torch.no_grad()
    def _compressed(
        self,
        batched_inputs: Sequence[dict],
        originals: Sequence[Tensor],
        qualities: Sequence[float],
    ) -> list[dict]:
        """The dicts with the decoded images of real coding; their rates are noted in the dicts
        given, too.
        """
        codec, real = self.codec.deployed(), self.real_streams and not self.training
        if (
            self._batched is None
            or self._batched.codec is not codec
            or self._batched.real_streams != real
        ):
            self._batched = BatchedCodec(codec, real_streams=real)
        batch = self._batched.start(
            originals, [x.get("file_name") for x in batched_inputs], qualities
        )
        inputs = []
        for x, original, image, num_bits in zip(
            batched_inputs, originals, batch.images, batch.num_bits()
        ):
            size = tuple(original.shape[1:])
            x.update(num_bits=num_bits, bpp=bits_per_pixel(num_bits, *size), original_size=size)
            inputs.append(self._seen(x, image))
        return inputs

    def _seen(self, x: Mapping[str, Any], image: Tensor) -> dict[str, Any]:
        """A dict for the detector with an RGB image of the codec in place of its own."""
        if "transforms" in x:
            image = apply_transforms(image, x["transforms"])
        image = image.flip(0) if self.image_format == "BGR" else image
        return {key: value for key, value in x.items() if key != "transforms"} | {"image": image}

    def _losses(
        self,
        batched_inputs: Sequence[dict],
        originals: Sequence[Tensor],
        qualities: Sequence[float],
    ) -> dict[str, Tensor]:
        coded = self.codec(originals, qualities, [x.get("file_name") for x in batched_inputs])
        balance = coded.terms.balance
        losses = {
            "loss_rate": self.weights.rate * (balance * coded.terms.rate).mean(),
            "loss_distortion": self.weights.distortion * (balance * coded.terms.distortion).mean(),
        }
        if self.codec.perceptual_weight:
            losses["loss_perceptual"] = (balance * coded.terms.perceptual).mean()
        # of the middle level: what a level's own lambda and the balance of the losses make of the
        # task's weight
        worth = [
            (
                lambda_of(torch.tensor(q * (NUM_LEVELS - 1)))
                / lambda_of(torch.tensor(NUM_LEVELS / 2))
            )
            .sqrt()
            .item()
            for q in qualities
        ]
        inputs = []
        for k, x in enumerate(batched_inputs):
            picture = 255 * coded.pictures[k].clamp(0, 1)
            if picture.requires_grad:  # it does not where losses are only looked at
                picture.register_hook(
                    lambda gradient, by=self.weights.task * worth[k]: by * gradient
                )
            inputs.append(self._seen(x, picture))
        losses |= self._task_losses(batched_inputs, originals, inputs)
        self._log(coded, originals)
        return losses

    def _task_losses(
        self, batched_inputs: Sequence[dict], originals: Sequence[Tensor], inputs: list[dict]
    ) -> dict[str, Tensor]:
        """Losses of the detector, and of its features if they are compared."""
        losses: dict[str, Tensor] = {}
        caught: list[dict[str, Tensor]] = []
        hook = (
            self.detector.backbone.register_forward_hook(
                lambda module, args, output: caught.append(output)
            )
            if self._distils
            else None
        )
        try:
            if self.labels:
                losses |= self.detector(inputs)
            else:
                self.detector.backbone(self.detector.preprocess_image(inputs).tensor)
        finally:
            if hook:
                hook.remove()
        if not self._distils:
            return losses
        with torch.no_grad():
            clean = [self._seen(x, original) for x, original in zip(batched_inputs, originals)]
            wanted = self.detector.backbone(self.detector.preprocess_image(clean).tensor)
        return losses | {
            "loss_distillation": self.weights.distillation
            * feature_distance(caught[0], wanted, self.distilled_features)
        }

    def _log(self, coded: SoftlyCoded, originals: Sequence[Tensor]) -> None:
        if not has_event_storage():
            return
        pixels = torch.tensor(
            [float(original[0].numel()) for original in originals], device=self.device
        )
        figures = {
            "estimated_bpp": (coded.terms.rate * pixels).sum() / pixels.sum(),
            "psnr": coded.terms.psnr.mean(),
            "salient_share": coded.salient_share.mean(),
        }
        if self.codec.perceptual_weight:
            figures["perceptual"] = coded.terms.perceptual_distance.mean()
        get_event_storage().put_scalars(
            **{f"salcompress/{name}": value.item() for name, value in figures.items()}
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *others: Any
    ) -> None:
        """Also takes a checkpoint of the detector alone: as that of the detector behind the codec
        as it is.

        Raises:
            SettingError: The checkpoint's codec is of another config.
        """
        own = {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith("detector.")
        }
        codec = {
            name.removeprefix(prefix) for name in state_dict if name.startswith(f"{prefix}codec.")
        }
        if not codec and not any(name.startswith(f"{prefix}detector.") for name in state_dict):
            for name in [name for name in state_dict if name.startswith(prefix)]:
                state_dict[f"{prefix}detector.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        if not codec:
            state_dict.update({f"{prefix}{name}": value for name, value in own.items()})
        for (
            name,
            value,
        ) in (
            self.state_dict().items()
        ):  # as Detectron2 does for a detector alone, before it knows these names
            given = state_dict.get(f"{prefix}{name}")
            if name.startswith("detector.") and given is not None and given.shape != value.shape:
                logger.warning(
                    "%s stays as it is: %s in the checkpoint, %s in the model",
                    name,
                    tuple(given.shape),
                    tuple(value.shape),
                )
                state_dict[f"{prefix}{name}"] = value
        wanted = {name for name in own if name.startswith("codec.")}
        other = (
            wanted ^ codec
            or {name for name in wanted if state_dict[f"{prefix}{name}"].shape != own[name].shape}
            if codec
            else set()
        )
        if other:
            raise SettingError(
                "the checkpoint's codec is of another config than the weights that MODEL.CODEC "
                f"begins with ({min(other)} does not fit); "
                "begin with weights of the checkpoint's config"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)


class LastImage(NamedTuple):
    """The last training image that went through the codec, for the logs."""

    original: Tensor
    """uint8 (3, H, W), RGB."""
    quality: float
