"""Training of the learned codec."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from salcompress.codecs.rate_distortion import RateDistortionPoint, measure_curve
from salcompress.codecs.salient import SalientCodec
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.metrics.perceptual import PerceptualMetric
from salcompress.models.compression_model import CompressionModel, save_model
from salcompress.models.transforms import KLT_SIDE, initialise_as_klt
from salcompress.training.datasets import CodecBatch, codec_batches
from salcompress.models.lagrangian import Perceptual, rate_distortion, saliency_weights
from salcompress.training.trainer import StepResult, TrainResult, TrainSettings, train

KLT_GAIN = 4.85
"""One over the step, in pixels of [0, 1], that is best at the middle level for a transform that keeps distances."""
HARD_SHARE = 0.8
"""From this share of the steps on, rates are those of rounded latents and crops are larger."""


def validate(weights: Path, images: Sequence[np.ndarray], device: str | None) -> list[RateDistortionPoint]:
    """Rate by real streams, and distortion, of a weight file on held-out images, at five qualities without saliency."""
    return measure_curve((SalientCodec(q, saliency="uniform", weights=weights, device=device) for q in (0.0, 0.25, 0.5, 0.75, 1.0)), images)


def write_weights(model: CompressionModel, result: TrainResult, out: Path) -> str:
    """Write the weights file of where training stopped; says what was written."""
    model.load_state_dict(result.weights)
    write_atomically(out, save_model(model))
    return f"{out}: {out.stat().st_size / 1e6:.2f} MB"


def shipped_perceptual(weight: float, device: str) -> Perceptual:
    """The shipped perceptual metric as a term of the loss."""
    metric = PerceptualMetric.load(device=device)
    return Perceptual(lambda image, reconstruction: metric(image, reconstruction).map, weight)


def train_codec(
    model: CompressionModel, images: Sequence[Tensor], settings: TrainSettings, *, batch_size: int, crop: int, large_crop: int,
    seed: int = 1, mixed_precision: bool = True, klt_start: bool = True, saliency_weight: float = 0.0, perceptual: Perceptual | None = None,
) -> TrainResult:
    """Train for rate, saliency-weighted distortion and perceptual distance at all levels at once.

    Args:
        images: uint8 (3, H, W), or (4, H, W) with saliency, on the model's device, sides of at least ``crop``; those of at least ``large_crop`` give the large crops.
        batch_size: Of the small crops; of the large ones, as many as have as many pixels.
        crop, large_crop: Sides in pixels, multiples of 64; the large one is for the last fifth of the steps.
        mixed_precision: bfloat16 in the transforms; never in the prior.
        klt_start: Where there is no checkpoint, start the transforms as a KLT of the images; False keeps the model's weights.
        saliency_weight: Squared errors at the most salient places count 1 plus this as much as at the least; needs saliency.
        perceptual: The metric and its weight; None leaves it out.

    Raises:
        SettingError: No image is large enough, or a saliency weight is given and the images carry no saliency.
    """
    device = next(model.parameters()).device
    if saliency_weight < 0 or perceptual is not None and perceptual.weight < 0:
        raise SettingError("the weights of saliency and perceptual distance must be at least 0")
    switch = int(settings.num_steps * HARD_SHARE)
    model.to(memory_format=torch.channels_last)
    large = [image for image in images if min(image.shape[1:]) >= large_crop]
    if not large:
        raise SettingError(f"no image has both sides of at least large_crop = {large_crop} pixels")
    if saliency_weight and any(image.shape[0] != 4 for image in images):
        raise SettingError("a saliency weight needs images with a fourth channel of saliency (load_images(..., saliency=...))")
    if klt_start and not settings.checkpoint.exists():
        for_klt = [image[:3] for image in images if min(image.shape[1:]) >= KLT_SIDE]
        if not for_klt:
            raise SettingError(f"the KLT start needs images with both sides of at least {KLT_SIDE} pixels; or train with klt_start=False")
        initialise_as_klt(model.analysis, model.synthesis, for_klt, KLT_GAIN)

    def compute(step: int, batch: CodecBatch) -> StepResult:
        torch.manual_seed(seed * 1_000_003 + step)  # the noise of the rates: a resumed run draws what an unbroken one would
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            output = model(batch.image, batch.cell_levels, hard=step >= switch)
        pixel_weight = saliency_weights(batch.saliency, saliency_weight) if saliency_weight else None
        found = rate_distortion(output, batch.image, batch.cell_levels, pixel_weight, perceptual)
        logged = {"estimated_bpp": found.rate.mean(), "distortion_bpp": found.distortion.mean(), "psnr_dB": found.psnr.mean()}
        if perceptual is not None:
            logged |= {"perceptual_bpp": found.perceptual.mean(), "perceptual": found.perceptual_distance.mean()}
        return StepResult(found.loss, logged)

    def batches(first: int):
        small = codec_batches(images, seed, first, batch_size, crop)
        for step, batch in zip(range(first, switch), small):
            yield batch
        fewer = max(1, batch_size * crop**2 // large_crop**2)
        yield from codec_batches(large, seed, max(first, switch), fewer, large_crop)

    identity = f"{model.config} saliency_weight={saliency_weight:g} perceptual_weight={perceptual.weight if perceptual else 0:g} images={len(images)}"
    return train(model, compute, batches, settings._replace(identity=identity), model.prior.project)
