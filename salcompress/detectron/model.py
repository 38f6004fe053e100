"""Any Detectron2 model behind the learned codec: differentiable in training, real at test."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from salcompress.codecs import load_codec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.detectron.detector_losses import (
    Teaching,
    detector_losses,
    give_losses,
    task_balance,
)
from salcompress.detectron.device_transforms import for_detector
from salcompress.detectron.image_format import check_image_format, check_model_format, rgb_of
from salcompress.detectron.model_state import adapt_state
from salcompress.detectron.processes import sum_over_processes
from salcompress.detectron.seen_size import SEEN_KEY, noted_size
from salcompress.detectron.teachers import FeatureTeacher, teacher_losses
from salcompress.detectron.training_figures import LastImage, log_batch
from salcompress.detectron.training_settings import (
    LossWeights,
    QualitySchedule,
    check_teachers,
    check_training,
    distils,
    quality_schedule,
)
from salcompress.errors import SettingError
from salcompress.image import bits_per_pixel
from salcompress.training.differentiable_codec import DifferentiableCodec


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
    ``bpp``: the length of that stream with ``real_streams``, else counted, within 64 bits. At test
    it gets ``seen_size``, too: (height, width) of what the detector saw.

    To the codec the loss of an image of quality level l, with lambda(l) as in the codec's own
    training, is in bits per pixel ``loss_rate`` + ``loss_distortion`` + ``loss_perceptual`` + task
    weight x lambda(l) / lambda(middle) x (the detector's losses + ``loss_distillation``), all over
    sqrt(lambda(l) / lambda(middle)) so that low rates train as eagerly as high ones. The detector's
    losses and ``loss_distillation`` are returned without these factors, which scale their gradient
    where it enters the codec: the detector's own parameters learn as ever. Our choice.

    Args:
        detector: The model; with ``backbone`` and ``preprocess_image``, as GeneralizedRCNN has, if
            features are to be compared.
        codec: The codec to begin with, "salient:..." or a SalientCodec. Its quality is that of
            tests, and its saliency steers.
        trains: "codec", "detector" or "both".
        labels: Whether the detector's own losses are used.
        weights: Weights of the terms of the loss.
        quality: Where training draws qualities from.
        image_format: "BGR" or "RGB", how the images' channels lie.
        distilled_features: Names of the backbone's outputs, and of modules within it, that are
            compared; all outputs where it is empty.
        teachers: Further networks whose features are compared, frozen, so that the codec does not
            belong to one detector. They see what the detector sees.
        mixed_precision: Whether the transforms compute in bfloat16 while training.
        real_streams: Whether tests write streams, whose length then is the rate. Otherwise it is
            counted, within 64 bits.

    Attributes:
        codec: The DifferentiableCodec. It lies on the detector's device, whatever its specification
            says.
        detector: The model.
        iteration: Where the schedule is. It is the iteration of Detectron2's event storage where
            there is one, so that it resumes with the training; otherwise it counts passes.
        last: The LastImage that went through the codec in training, for the logs; None before.

    Raises:
        SettingError: A setting is wrong, there is nothing to learn from, the detector has no
            backbone for distillation, or it takes pictures of another format.
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
        teachers: Sequence[FeatureTeacher] = (),
        mixed_precision: bool = True,
        real_streams: bool = False,
    ):
        super().__init__()
        check_image_format(image_format)
        check_model_format(detector, image_format)
        start = load_codec(codec) if isinstance(codec, str) else codec
        if not isinstance(start, SalientCodec):
            raise SettingError(
                "only the learned codec is differentiable: the codec of stage model must be "
                f"salient:..., got {start.label}"
            )
        weights, quality = LossWeights(*weights), QualitySchedule(*quality)
        check_training(detector, trains, labels, weights, quality)
        check_teachers(teachers, trains, weights)
        self.detector, self.image_format = detector, image_format
        self.trains, self.weights, self.quality = trains, weights, quality
        self.teaching = Teaching(
            labels,
            weights.distillation if distils(trains, weights) else 0.0,
            tuple(distilled_features),
        )
        self.teachers = tuple(teachers)
        self.real_streams = real_streams
        device = next((p.device for p in detector.parameters()), torch.device("cpu"))
        self.codec = DifferentiableCodec(
            start,
            device,
            saliency_weight=weights.saliency,
            mixed_precision=mixed_precision,
            perceptual_weight=0.0 if trains == "detector" else weights.perceptual,
        )
        self.codec.requires_grad_(trains != "detector")
        if trains == "codec":
            detector.requires_grad_(False)
        if trains != "detector" and hasattr(detector, "vis_period"):
            # Detectron2 would draw on pictures that carry gradients, and fail
            cast(Any, detector).vis_period = 0
        self.iteration: int = 0
        self.last: LastImage | None = None
        self._batched: BatchedCodec | None = None
        self.train(self.training)

    @classmethod
    def from_config(cls, cfg: CfgNode, detector: nn.Module) -> "CompressedDetector":
        """Around a detector as ``cfg.SALCOMPRESS.MODEL`` says.

        Raises:
            SettingError: What the constructor refuses, or a range that is not of two numbers.
        """
        node = cfg.SALCOMPRESS.MODEL
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
            quality=quality_schedule(node.QUALITY, node.QUALITY_START, node.QUALITY_ITERS),
            mixed_precision=node.MIXED_PRECISION,
            distilled_features=node.DISTILLATION_FEATURES,
            real_streams=cfg.SALCOMPRESS.TEST_STREAMS,
        )

    @property
    def device(self) -> torch.device:
        return self.codec.device

    def train(self, mode: bool = True) -> "CompressedDetector":
        """Set the mode. A detector that is not trained keeps its norms and dropout as at test; the
        rest of it must be in training to give losses.
        """
        super().train(mode)
        if mode and self.trains == "codec":
            give_losses(self.detector)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batched": None}  # its threads cannot be copied; it is made anew

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses while training, else the detector's outputs.

        Raises:
            SettingError: A dict has no image of a kind that a codec takes.
            DataError: The codec cannot hold an image; the message names its file.
        """
        originals = [rgb_of(x, self.image_format, self.device) for x in batched_inputs]
        if not self.training:
            qualities = [self.codec.start.quality] * len(originals)
            inputs = self._compressed(batched_inputs, originals, qualities)
            outputs = self.detector(inputs)
            for x, seen in zip(batched_inputs, inputs):
                x[SEEN_KEY] = noted_size(seen)
            return outputs
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
            originals, cast(list[str], [x.get("file_name") for x in batched_inputs]), qualities
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
        return for_detector(x, image, self.image_format)

    def _losses(
        self,
        batched_inputs: Sequence[dict],
        originals: Sequence[Tensor],
        qualities: Sequence[float],
    ) -> dict[str, Tensor]:
        drawn = self.codec.cells_of_level.clone()
        coded = self.codec(originals, qualities, [x.get("file_name") for x in batched_inputs])
        if torch.is_grad_enabled():  # all processes export and test one codec
            drawn += sum_over_processes(self.codec.cells_of_level - drawn)
            self.codec.cells_of_level.copy_(drawn)
        balance = coded.terms.balance
        losses = {
            "loss_rate": self.weights.rate * (balance * coded.terms.rate).mean(),
            "loss_distortion": self.weights.distortion * (balance * coded.terms.distortion).mean(),
        }
        if self.codec.perceptual_weight:
            losses["loss_perceptual"] = (balance * coded.terms.perceptual).mean()
        inputs = []
        for x, soft, worth in zip(batched_inputs, coded.pictures, task_balance(qualities)):
            picture = 255 * soft.clamp(0, 1)
            if picture.requires_grad:  # it does not where losses are only looked at
                picture.register_hook(lambda gradient, by=self.weights.task * worth: by * gradient)
            inputs.append(self._seen(x, picture))
        clean = []
        if self.teaching.distillation:
            clean = [self._seen(x, original) for x, original in zip(batched_inputs, originals)]
        losses |= detector_losses(self.detector, inputs, clean, self.teaching)
        losses |= teacher_losses(
            self.teachers, self._rgb(inputs), self._rgb(clean), self.teaching.distillation
        )
        log_batch(coded, originals, self.codec.perceptual_weight > 0)
        return losses

    def _rgb(self, inputs: Sequence[dict]) -> list[Tensor]:
        """The pictures of dicts, RGB."""
        images = [x["image"] for x in inputs]
        return [image.flip(0) for image in images] if self.image_format == "BGR" else images

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *others: Any
    ) -> None:
        """Also takes a checkpoint of the detector alone, and leaves out what does not fit.

        Raises:
            SettingError: The checkpoint's codec is of another config.
        """
        adapt_state(state_dict, self.state_dict(), prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)
