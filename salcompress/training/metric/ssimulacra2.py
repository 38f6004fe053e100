"""SSIMULACRA 2, some fifty times as fast as its package, which reads files.

The metric is that of Jon Sneyers, Cloudinary, 2022 (https://github.com/cloudinary/ssimulacra2).
"""

import cv2
import numpy as np

_OPSIN = np.array(
    [
        [0.3, 0.622, 0.078],
        [0.23, 0.692, 0.078],
        [0.24342268924547819, 0.20476744424496821, 1 - 0.24342268924547819 - 0.20476744424496821],
    ],
    np.float32,
)
_OPSIN_BIAS = np.float32(0.0037930732552754493)


def ssimulacra2(reference: np.ndarray, image: np.ndarray, table: np.ndarray) -> float:
    """How close an image is to its reference by SSIMULACRA 2.

    The picture is compared at six scales, each half as large as the one before. At each scale and
    in each channel of an opponent colour space, three errors are taken at each pixel: of structure,
    of edges that appear, and of edges that vanish. Their means and fourth-power means are weighted
    and summed.

    Two things differ from the package: there are six scales however small the picture is, and edges
    reflect.

    Args:
        reference: Float32 (H, W, 3) in [0, 1].
        image: Float32 (H, W, 3) in [0, 1].
        table: The 108 published weights of the metric.

    Returns:
        The score, at most 100, which is that of an equal image.
    """
    weights = np.asarray(table).reshape(3, 6, 2, 3)  # channel, scale, norm, kind
    linear = [_to_linear(x) for x in (reference, image)]
    total = 0.0
    for scale in range(6):
        if scale:
            linear = [_halved(x) for x in linear]
        a, b = (_positive_xyb(x) for x in linear)
        for kind, error in enumerate(_errors(a, b)):
            total += error.mean((0, 1)) @ weights[:, scale, 0, kind]
            total += (error**4).mean((0, 1)) ** 0.25 @ weights[:, scale, 1, kind]
    total *= 0.9562382616834844
    total = (
        2.326765642916932 * total
        - 0.020884521182843837 * total**2
        + 6.248496625763138e-05 * total**3
    )
    return float(100 - 10 * max(total, 0) ** 0.6276336467831387)


def _errors(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Errors of structure, of edges that appear and of edges that vanish, at least 0, (H, W, 3)."""
    mean_a, mean_b = _gaussian(a), _gaussian(b)
    structure = 2 * (_gaussian(a * b) - mean_a * mean_b) + 0.0009
    structure /= _gaussian(a * a + b * b) - mean_a**2 - mean_b**2 + 0.0009
    edges = (1 + np.abs(b - mean_b)) / (1 + np.abs(a - mean_a)) - 1
    lost = 1 - (1 - (mean_a - mean_b) ** 2) * structure
    return [np.maximum(error, 0) for error in (lost, edges, -edges)]


def _to_linear(x: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1]."""
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _halved(x: np.ndarray) -> np.ndarray:
    size = -(-x.shape[1] // 2), -(-x.shape[0] // 2)
    return cv2.resize(x, size, interpolation=cv2.INTER_AREA)


def _positive_xyb(linear: np.ndarray) -> np.ndarray:
    """The colour space XYB of linear light, shifted so that values are positive, (H, W, 3)."""
    first, second, third = np.moveaxis(
        np.cbrt(linear @ _OPSIN.T + _OPSIN_BIAS) - np.cbrt(_OPSIN_BIAS), 2, 0
    )
    y = (first + second) / 2
    return np.stack([(first - second) * 7 + 0.42, y + 0.01, third - y + 0.55], 2)


def _gaussian(x: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)
