"""Rate and distortion of codecs over photographs, by the length of real streams."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.codecs.salient.steering import remembered_saliency
from salcompress.evaluation.round_trip import code, compared

CURVES: Mapping[str, str] = MappingProxyType(
    {
        "jpeg": "jpeg:q=3,5,8,12,16,20,30,45,60,75,85",
        "jpegli": "jpegli:q=5,20,40,65",
        "jpeg2000": "jpeg2000:bpp=0.1,0.3,0.6,1.2",
        "webp": "webp:q=0,3,8,15,25,35,50,70,85",
        "avif": "avif:q=2,5,10,15,25,40,55,70",
        "jxl": "jxl:q=11,25,50,75",
        "hevc": "hevc:q=8,20,32,44",
        "hevc 4:2:0": "hevc:subsampling=420,q=8,20,32,44",
        "vvc": "vvc:q=28,38,48,58",
        "salient": "salient:saliency=uniform,q=0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
    }
)
"""Specifications that span the useful rates of each codec, by name of the curve."""


class ImageFigures(NamedTuple):
    """One setting on one image."""

    num_bits: int
    """Of the whole stream."""
    num_pixels: int
    """Of the original image."""
    psnr: float | None
    """dB; None of an exact copy."""
    ms_ssim: float | None
    """None where the image is too small."""
    perceptual: float
    """Distance by the learned metric."""


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
    figures = [measure_image(codecs, image) for image in images]
    return [point_of(codec.label, of_codec) for codec, of_codec in zip(codecs, zip(*figures))]


def measure_image(codecs: Sequence[Codec], image: np.ndarray) -> list[ImageFigures]:
    """Encode and decode one image at every setting.

    Args:
        codecs: One codec a setting.
        image: uint8 (H, W, 3).

    Returns:
        Figures for each codec, in order.

    Raises:
        SettingError, BitstreamError: As :func:`measure_curve`.
    """
    with remembered_saliency():
        coded = compared([code(codec, image) for codec in codecs], image)
    pixels = image.shape[0] * image.shape[1]
    # the metric is always measured here
    return [ImageFigures(c.num_bits, pixels, c.psnr, c.ms_ssim, c.perceptual or 0) for c in coded]


def point_of(label: str, figures: Sequence[ImageFigures]) -> RateDistortionPoint:
    """A setting over all images, from its figures on each of them.

    >>> point_of("jpeg:q=5", [ImageFigures(2, 4, 30, None, 0.5), ImageFigures(2, 4, None, 0.9, 0)])
    RateDistortionPoint(label='jpeg:q=5', bpp=0.5, psnr=30.0, ms_ssim=0.9, perceptual=0.25)
    """
    return RateDistortionPoint(
        label,
        sum(f.num_bits for f in figures) / sum(f.num_pixels for f in figures),
        _mean([f.psnr for f in figures]),
        _mean([f.ms_ssim for f in figures]),
        float(np.mean([f.perceptual for f in figures])),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
