"""Distortions that are drawn at random: those to which a metric must not be blind.

Noise and shifts of colour are among them. What codecs do to a picture is in ``compressed``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np


class Distorted(NamedTuple):
    """A version of a picture."""

    image: np.ndarray
    """uint8 (H, W, 3)."""
    family: str
    """The codec or the distortion: a key of a ladder of ``compressed``, or of :data:`DRAWN`."""
    level: float
    """The step of the ladder, or ten times the strength. Within a family, higher is worse."""
    near_threshold: bool = False
    """Whether a JPEG encoder made it at a quality of 60 to 95, where differences are just visible.
    """


def draw(image: np.ndarray, family: str, strength: float, seed: int) -> Distorted:
    """Distort a picture.

    Args:
        image: uint8 (H, W, 3).
        family: Name of the distortion, a key of :data:`DRAWN`.
        strength: How much of it, in (0, 1], from barely visible to gross.
        seed: Seed of what is random, such as noise or the direction of a shift. With one seed a
            higher strength is more of the same.
    """
    changed = DRAWN[family](image.astype(np.float32) / 255, strength, np.random.default_rng(seed))
    return Distorted(
        np.clip(np.rint(changed * 255), 0, 255).astype(np.uint8), family, 10 * strength
    )


def _blur(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(x, (0, 0), 0.35 + 3.5 * strength**1.5)


def _ringing(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """An ideal low-pass in each channel: ripples beside every edge."""
    cut = 0.45 - 0.38 * strength**0.7
    height, width = x.shape[:2]
    keep = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) < cut
    spectrum = np.fft.rfft2(x, axes=(0, 1)) * keep[:, :, None]
    return np.fft.irfft2(spectrum, (height, width), axes=(0, 1)).astype(np.float32)


def _banding(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    step = (2 + 46 * strength**1.5) / 255
    return np.rint(x / step) * step


def _blocking(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Pixels move towards the means of blocks of 4, 8 or 16 pixels."""
    side = int(rng.choice([4, 8, 16]))
    height, width = x.shape[:2]
    small = cv2.resize(x, (-(-width // side), -(-height // side)), interpolation=cv2.INTER_AREA)
    blocks = small.repeat(side, 0).repeat(side, 1)[:height, :width]
    return x + (0.05 + 0.9 * strength) * (blocks - x)


def _rescaling(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    height, width = x.shape[:2]
    factor = 1.1 + 5 * strength**1.5
    small = cv2.resize(
        x,
        (max(1, round(width / factor)), max(1, round(height / factor))),
        interpolation=cv2.INTER_AREA,
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _noise(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return x + (0.004 + 0.12 * strength**1.5) * rng.standard_normal(x.shape).astype(np.float32)


def _colour_noise(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blotches of colour, a few pixels wide, as coarse chroma quantizers leave."""
    blotches = cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), 3)
    blotches -= blotches.mean(2, keepdims=True)
    return x + (0.01 + 0.16 * strength) * blotches / blotches.std()


def _checkerboard(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    period = int(rng.choice([2, 4, 8]))
    rows, columns = np.indices(x.shape[:2]) // (period // 2)
    board = ((rows + columns) % 2 * 2 - 1).astype(np.float32)[:, :, None]
    return x + (0.004 + 0.12 * strength**1.5) * board * rng.uniform(0.3, 1, 3).astype(np.float32)


def _sharpening(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return x + (0.1 + 2.5 * strength) * (x - cv2.GaussianBlur(x, (0, 0), 1.2))


def _smoothing(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Edges stay, texture goes."""
    return cv2.bilateralFilter(np.ascontiguousarray(x), 9, 0.02 + 0.28 * strength, 2 + 3 * strength)


def _chroma_blur(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
    return luma[:, :, None] + cv2.GaussianBlur(
        x - luma[:, :, None], (0, 0), 0.5 + 9 * strength**1.5
    )


def _saturation(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    luma = (x @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
    return luma + (x - luma) * (1 + strength * rng.choice([-0.95, 1.2]))


def _colour_shift(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    direction = rng.standard_normal(3).astype(np.float32)
    return x + (0.01 + 0.13 * strength) * direction / np.linalg.norm(direction)


def _brightness(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return x + (0.01 + 0.17 * strength) * rng.choice([-1, 1])


def _contrast(x: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return x.mean() + (x - x.mean()) * (1 + strength * rng.choice([-0.6, 0.6]))


DRAWN: Mapping[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "blur": _blur,
    "ringing": _ringing,
    "banding": _banding,
    "blocking": _blocking,
    "rescaling": _rescaling,
    "noise": _noise,
    "colour_noise": _colour_noise,
    "checkerboard": _checkerboard,
    "sharpening": _sharpening,
    "smoothing": _smoothing,
    "chroma_blur": _chroma_blur,
    "saturation": _saturation,
    "colour_shift": _colour_shift,
    "brightness": _brightness,
    "contrast": _contrast,
}
