"""Rate and distortion of codecs over photographs, by the length of real streams."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.evaluation.round_trip import code


class RateDistortionPoint(NamedTuple):
    """One setting over some images."""

    label: str
    bpp: float
    """Pooled: bits of all whole streams over all pixels."""
    psnr: float | None
    """dB, mean over the images that are not exact copies."""
    ms_ssim: float | None
    """Mean over the images that are large enough."""
    perceptual: float
    """Distance by the learned metric, mean over the images."""


def measure_curve(
    codecs: Iterable[Codec], images: Sequence[np.ndarray]
) -> list[RateDistortionPoint]:
    """Encode and decode every image (uint8 (H, W, 3)) at every setting."""
    points = []
    for codec in codecs:
        coded = [code(codec, image).compared_to(image) for image in images]
        pixels = sum(image.shape[0] * image.shape[1] for image in images)
        points.append(
            RateDistortionPoint(
                codec.label,
                sum(c.num_bits for c in coded) / pixels,
                _mean([c.psnr for c in coded]),
                _mean([c.ms_ssim for c in coded]),
                float(np.mean([c.perceptual for c in coded])),
            )
        )
    return points


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
