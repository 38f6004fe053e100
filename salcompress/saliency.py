"""Saliency: how much each place of an image draws the eye, in [0, 1]."""
import cv2
import numpy as np

from salcompress.image import check_image


def classical_saliency(image: np.ndarray) -> np.ndarray:
    """Frequency-tuned saliency: distance in CIE Lab of the slightly blurred image from its mean colour.

    Achanta, Hemami, Estrada and Susstrunk, "Frequency-tuned salient region detection", CVPR 2009. Needs no weights.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (H, W) in [0, 1], 1 at the most salient place; all 0 for an image of one colour.
    """
    check_image(image)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    distance = np.linalg.norm(cv2.GaussianBlur(lab, (5, 5), 0) - lab.mean((0, 1)), axis=2)
    largest = distance.max()
    # under one unit of Lab, the smallest difference that an eye sees, there is nothing to be salient
    return (distance / largest).astype(np.float32) if largest > 1 else np.zeros_like(distance, np.float32)


def uniform_saliency(image: np.ndarray) -> np.ndarray:
    """The same everywhere: float32 zeros (H, W)."""
    check_image(image)
    return np.zeros(image.shape[:2], np.float32)


SALIENCY = {"classical": classical_saliency, "uniform": uniform_saliency}
"""Saliency functions by name."""
