"""Rate and distortion of codecs over photographs, by the length of real streams."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.codecs.salient.steering import remembered_saliency
from salcompress.evaluation.round_trip import code, compared


class RateDistortionPoint(NamedTuple):
    """One setting over some images."""

    label: str
    bpp: float
    """Pooled: bits of all whole streams over all pixels."""
    psnr: float | None
    """dB, mean over the images that are not exact copies; None if all are."""
    ms_ssim: float | None
    """Mean over the images that are large enough; None if none is."""
    perceptual: float
    """Distance by the learned metric, mean over the images."""


def measure_curve(
    codecs: Sequence[Codec], images: Sequence[np.ndarray]
) -> list[RateDistortionPoint]:
    """Encode and decode every image at every setting.

    What the settings have in common, saliency and the metric's features of the original, is
    computed once for each image.

    Args:
        codecs: One codec a setting.
        images: uint8 (H, W, 3) each.

    Returns:
        A point for each codec, in order.

    Raises:
        SettingError: A codec cannot hold an image.
        BitstreamError: A codec cannot decode what it made.
    """
    figures = []
    for image in images:
        with remembered_saliency():
            coded = compared([code(codec, image) for codec in codecs], image)
        figures.append([(c.num_bits, c.psnr, c.ms_ssim, c.perceptual) for c in coded])
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    points = []
    for codec, of_codec in zip(codecs, zip(*figures)):
        num_bits, psnr, ms_ssim, perceptual = zip(*of_codec)
        points.append(
            RateDistortionPoint(
                codec.label,
                sum(num_bits) / pixels,
                _mean(psnr),
                _mean(ms_ssim),
                float(np.mean(perceptual)),
            )
        )
    return points


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
