"""Distortion between two 8-bit images: PSNR, SSIM and MS-SSIM."""

import cv2
import numpy as np

from salcompress.errors import SettingError
from salcompress.image import check_image

MS_SSIM_MIN_SIDE = 161
"""Smallest side, in pixels, that MS-SSIM's five scales of 11-pixel windows allow."""
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW, _SIGMA = 11, 1.5


def psnr(reference: np.ndarray, image: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio over all RGB samples: ``10 log10(255^2 / mean((x - y)^2))`` in dB.

    Args:
        reference, image: uint8 (H, W, 3).

    Returns:
        At least 0; None where the images are identical, since it is infinite there.

    Raises:
        SettingError: The shapes differ, or one is no image.

    >>> black = np.zeros((4, 4, 3), np.uint8)
    >>> psnr(black, black + 255), round(psnr(black, black + 1), 2), psnr(black, black)
    (0.0, 48.13, None)
    """
    check_pair(reference, image)
    error = cv2.norm(reference, image, cv2.NORM_L2SQR) / reference.size
    return float(10 * np.log10(255**2 / error)) if error > 0 else None


def ssim(reference: np.ndarray, image: np.ndarray) -> float | None:
    """Structural similarity at full size, the mean over windows and RGB channels.

    In a window it is ``(2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))``
    with the means m, variances and covariance s under a Gaussian of 11 pixels, sigma 1.5, and with
    c1 = (0.01 * 255)^2, c2 = (0.03 * 255)^2: Wang, Bovik, Sheikh and Simoncelli, "Image quality
    assessment: from error visibility to structural similarity", 2004,
    https://doi.org/10.1109/TIP.2003.819861. Windows that do not fit in the image are left out.

    Args:
        reference, image: uint8 (H, W, 3).

    Returns:
        In [-1, 1], and 1 for identical images; None for a side under 11 pixels.

    Raises:
        SettingError: The shapes differ, or one is no image.

    >>> ramp = np.arange(3 * 16 * 16, dtype=np.uint8).reshape(16, 16, 3)
    >>> ssim(ramp, ramp), ssim(ramp, 255 - ramp) < 0
    (1.0, True)
    """
    check_pair(reference, image)
    if min(reference.shape[:2]) < _WINDOW:
        return None
    similarity, _ = _ssim(reference.astype(np.float32), image.astype(np.float32))
    return round(float(similarity.mean()), 7)  # as in ms_ssim


def ms_ssim(reference: np.ndarray, image: np.ndarray) -> float | None:
    """Multi-scale structural similarity, the mean over the RGB channels.

    It is the product over five scales of ``cs_j^w_j``, with the contrast and structure term cs of
    :func:`ssim` at each scale but the last, and all of it there; each scale halves the one before:
    Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment",
    2003, https://doi.org/10.1109/ACSSC.2003.1292216. Windows and halving are those of
    pytorch-msssim, whose figures compression papers publish.

    Args:
        reference, image: uint8 (H, W, 3).

    Returns:
        In [0, 1], and 1 for identical images; None for a side under 161 pixels.

    Raises:
        SettingError: The shapes differ, or one is no image.

    >>> grey = np.full((161, 200, 3), 128, np.uint8)
    >>> ms_ssim(grey, grey), ms_ssim(grey[:100], grey[:100])
    (1.0, None)
    """
    check_pair(reference, image)
    if min(reference.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    x, y = reference.astype(np.float32), image.astype(np.float32)
    factors = []
    for scale in range(len(_WEIGHTS)):
        similarity, contrast = _ssim(x, y)
        last = scale == len(_WEIGHTS) - 1
        factors.append(np.maximum(similarity if last else contrast, 0))
        if not last:
            x, y = _halve(x), _halve(y)
    # float32 sums are good for six digits; the rest would vary with the memory that an image
    # happens to lie in
    return round(float(np.prod(np.stack(factors) ** _WEIGHTS[:, None], axis=0).mean()), 7)


def _ssim(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean structural similarity and its contrast factor, by channel, (3,) each."""
    # in place where it can be: fresh arrays cost as much time as the arithmetic
    mean_x, mean_y = _blur(x), _blur(y)
    mean_xy = mean_x * mean_y
    mean_x *= mean_x
    mean_y *= mean_y
    square = x * x
    square += y * y
    spread = _blur(square)  # var x + var y in one blur: four blurs in place of five
    spread -= mean_x
    spread -= mean_y
    spread += _C2
    contrast = _blur(np.multiply(x, y, out=square))
    contrast -= mean_xy
    contrast *= 2
    contrast += _C2
    contrast /= spread
    mean_xy *= 2
    mean_xy += _C1
    mean_x += mean_y
    mean_x += _C1
    similarity = np.multiply(contrast, mean_xy, out=mean_xy)
    similarity /= mean_x
    return np.array(cv2.mean(similarity)[:3]), np.array(cv2.mean(contrast)[:3])


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian window at every position where it fits, (H - 10, W - 10, 3)."""
    edge = _WINDOW // 2
    return cv2.GaussianBlur(x, (_WINDOW, _WINDOW), _SIGMA)[edge:-edge, edge:-edge]


def _halve(x: np.ndarray) -> np.ndarray:
    """Mean of 2x2 blocks; an odd side begins with a line of zeros, as average pooling with padding
    gives.
    """
    height, width = x.shape[:2]
    if height % 2 or width % 2:
        x = cv2.copyMakeBorder(x, height % 2, 0, width % 2, 0, cv2.BORDER_CONSTANT, value=0)
    return cv2.resize(x, (x.shape[1] // 2, x.shape[0] // 2), interpolation=cv2.INTER_AREA)


def check_pair(reference: np.ndarray, image: np.ndarray) -> None:
    """Raise unless both are images, uint8 (H, W, 3), of one shape.

    Raises:
        SettingError: The shapes differ, or one is no image.
    """
    check_image(reference)
    check_image(image)
    if reference.shape != image.shape:
        raise SettingError(f"images must have one shape, got {reference.shape} and {image.shape}")
