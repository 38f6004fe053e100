"""The encoder's search for a detector: fewer bits at an equal distance of its features."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.codecs.salient import SalientCodec
from salcompress.detectors.feature_distance import feature_distance
from salcompress.detectors.features import DetectorFeatures
from salcompress.errors import SettingError
from salcompress.image import to_tensor
from salcompress.metrics.bd_rate import bd_rate

LEAST_DISTANCE = 1e-4
"""Distances below it count as this much where something is divided by one."""
NUM_RESAMPLES = 300


def middle(image: np.ndarray, side: int | None) -> np.ndarray:
    """The middle of an image (H, W, 3), of at most ``side`` pixels in each direction; None is all.

    >>> middle(np.zeros((7, 4, 3), np.uint8), 5).shape
    (5, 4, 3)
    """
    if side is None:
        return image
    top, left = (max(0, size - side) // 2 for size in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


class FeatureLoss:
    """Bits per pixel that the change of a detector's features costs: a loss for
    :meth:`~salcompress.codecs.salient.SalientCodec.refine`.

    Args:
        features: Of the detector.
        image: The original, uint8 (H, W, 3), RGB.
        weight: Bits per pixel that a feature distance of 1 costs.

    Raises:
        DataError: The detector fails.
    """

    def __init__(self, features: DetectorFeatures, image: np.ndarray, weight: float = 1.0):
        self._features, self.weight = features, weight
        with torch.inference_mode(False), torch.no_grad():
            self._wanted = features(to_tensor(image))

    def __call__(self, reconstruction: Tensor) -> Tensor:
        """A scalar, differentiable in the reconstruction, float RGB (1, 3, H, W) in [0, 1]."""
        return self.weight * feature_distance(self._features(reconstruction), self._wanted)

    def distance(self, decoded: np.ndarray) -> float:
        """Feature distance of a decoded image, uint8 (H, W, 3), from the original."""
        with torch.no_grad():
            return float(self(to_tensor(decoded))) / self.weight


def refine_for_detector(
    codec: SalientCodec,
    image: np.ndarray,
    features: DetectorFeatures,
    effort: int | None = None,
    emphasis: float = 1.0,
) -> bytes:
    """The stream of an image after a search down bits plus the change of a detector's features.

    The distance counts as many bits as the codec itself pays for it. Along the codec's curve of an
    image, rate R against distance D, D falls about as 1 / R, so that a small step down costs R / D
    bits of each unit. R and D are those of the stream without a search. Our choice.

    Args:
        codec: Its quality and saliency say where the search begins.
        image: uint8 (H, W, 3), RGB.
        features: Of the detector.
        effort: Steps of the search, as of ``codec.refine``.
        emphasis: Factor on what the distance costs.

    Returns:
        A stream that any codec of the same weights decodes.

    Raises:
        SettingError: ``emphasis`` is not positive, or as of ``codec.refine``.
        DataError: The detector fails.
    """
    if not emphasis > 0:
        raise SettingError(f"emphasis must be above 0, got {emphasis}")
    plain = codec.with_effort(0).reconstruct(image)
    loss = FeatureLoss(features, image)
    bpp = plain.num_bits / (image.shape[0] * image.shape[1])
    loss.weight = emphasis * bpp / max(loss.distance(plain.image), LEAST_DISTANCE)
    return codec.refine(image, loss, effort)


class RefinedPoint(NamedTuple):
    """One image at one quality, without and with the search."""

    plain_bpp: float
    plain_distance: float
    refined_bpp: float
    refined_distance: float


def measure_refinement(
    codec: SalientCodec,
    images: Iterable[np.ndarray],
    features: DetectorFeatures,
    qualities: Sequence[float],
    effort: int | None = None,
    emphasis: float = 1.0,
) -> np.ndarray:
    """Rate and feature distance of real streams, without and with :func:`refine_for_detector`.

    Args:
        codec: Its quality does not count.
        images: uint8 (H, W, 3) each, RGB.
        qualities: Base qualities in [0, 1].
        features, effort, emphasis: As of :func:`refine_for_detector`.

    Returns:
        (images, qualities, 4) as of :class:`RefinedPoint`.
    """
    points = []
    for image in images:
        loss, num_pixels = FeatureLoss(features, image), image.shape[0] * image.shape[1]
        for quality in qualities:
            at = codec.with_quality(quality)
            measured: list[float] = []
            for stream in (
                at.with_effort(0).encode(image),
                refine_for_detector(at, image, features, effort, emphasis),
            ):
                distance = max(loss.distance(codec.decode(stream)), LEAST_DISTANCE)
                measured += [8 * len(stream) / num_pixels, distance]
            points.append(RefinedPoint(*measured))
    return np.array(points).reshape(-1, len(qualities), len(RefinedPoint._fields))


def bits_saved(points: np.ndarray) -> tuple[float, float, float]:
    """BD-rate of the search at equal feature distance, in percent, with its 95 % interval over
    images.

    Rates and distances are averaged over images by their logarithms, so that each counts alike.

    Args:
        points: Of each image at each quality, (images, qualities, 4) as of :class:`RefinedPoint`.

    Raises:
        SettingError: There are fewer than four qualities, or the curves have no common distance.
    """
    logs = np.log(points)

    def percent(chosen: np.ndarray) -> float:
        plain_bpp, plain, refined_bpp, refined = logs[chosen].mean(0).T
        return bd_rate(np.exp(plain_bpp), -plain, np.exp(refined_bpp), -refined).percent

    everyone = np.arange(len(points))
    generator = np.random.default_rng(0)
    resamples = [percent(generator.choice(everyone, len(everyone))) for _ in range(NUM_RESAMPLES)]
    low, high = np.percentile(resamples, [2.5, 97.5])
    return percent(everyone), float(low), float(high)
