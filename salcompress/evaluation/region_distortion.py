"""What steering does: rate and distortion of the learned codec inside and outside of marked
regions, at equal rate.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from salcompress.codecs.salient import SalientCodec
from salcompress.errors import SettingError
from salcompress.image import PLACE
from salcompress.metrics.object_share import bits_on_mask

RATE_TOLERANCE = 0.02
"""Settings whose pooled rates differ by no more, as a share, are called equal in rate."""

_EXACT = 1e-3  # squared error that an exact copy counts as: 78 dB


class RegionPoint(NamedTuple):
    """One setting over some images with a mask each."""

    bpp: float
    """Pooled: bits of all whole streams over all pixels."""
    bits_inside: float
    """Share of the placed bits on the masks, in [0, 1]."""
    area_inside: float
    """Share of the pixels on the masks, in [0, 1]."""
    psnr: float
    """dB, mean over the images, like the two below."""
    psnr_inside: float
    psnr_outside: float


def measure_regions(
    codec: SalientCodec, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> RegionPoint:
    """Encode and decode every image.

    Args:
        images: uint8 (H, W, 3).
        masks: bool (H, W), each with both values.

    Raises:
        SettingError: A mask covers all of its image or nothing.
    """
    bits = inside = placed = 0.0
    errors = []
    for number, (image, mask) in enumerate(zip(images, masks)):
        if mask.all() or not mask.any():
            raise SettingError(
                f"mask {number} covers {'all' if mask.any() else 'nothing'} of its image; leave "
                "that image out"
            )
        stream = codec.encode(image)
        places = codec.maps(image, stream).bits
        bits, placed, inside = (
            bits + 8 * len(stream),
            placed + places.sum(),
            inside + bits_on_mask(places, mask, PLACE),
        )
        decoded = codec.decode(stream)
        squared = (decoded.astype(np.float64) - image) ** 2
        errors.append(
            [
                10 * np.log10(255**2 / max(part.mean(), _EXACT))
                for part in (squared, squared[mask], squared[~mask])
            ]
        )
    pixels = sum(mask.size for mask in masks)
    whole, within, without = np.mean(errors, 0)
    return RegionPoint(
        bits / pixels,
        inside / placed,
        sum(mask.sum() for mask in masks) / pixels,
        whole,
        within,
        without,
    )


def with_pooled_rate(codec: SalientCodec, images: Sequence[np.ndarray], bpp: float) -> SalientCodec:
    """The codec at the base quality whose pooled rate over the images is nearest to ``bpp``.

    Raises:
        SettingError: No quality comes within ``RATE_TOLERANCE`` of it.
    """
    pixels = sum(image.shape[0] * image.shape[1] for image in images)

    low, high, tried = 0.0, 1.0, {}
    for _ in range(10):
        middle = (low + high) / 2
        tried[middle] = sum(codec.with_quality(middle).num_bits(image) for image in images) / pixels
        if abs(tried[middle] / bpp - 1) < RATE_TOLERANCE / 4:
            break
        low, high = (middle, high) if tried[middle] < bpp else (low, middle)
    nearest = min(tried, key=lambda quality: abs(tried[quality] / bpp - 1))
    if abs(tried[nearest] / bpp - 1) > RATE_TOLERANCE:
        raise SettingError(
            f"no quality gives {bpp:g} bpp with {codec.label}; the nearest tried gives "
            f"{tried[nearest]:.4f}"
        )
    return codec.with_quality(nearest)
