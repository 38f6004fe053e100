"""Labels without people: the agreement of published full-reference metrics on which of two versions
is closer.

Not human judgement, and never to be called so. The metrics are needed here alone: ``pip install
salcompress[train]``.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from scipy.special import expit, ndtri
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError

VOTES: Mapping[str, float] = {
    "haarpsi": 1,
    "mdsi": 1,
    "fsim": 1,
    "ms_gmsd": 1,
    "dss": 1,
    "ssimulacra2": 3,
}
"""Metrics and their number of votes. PSNR, SSIM and MS-SSIM have none: the learned metric is
compared with them. SSIMULACRA 2 has three because it alone was fitted to ratings of compressed
photographs. Our choice."""
SOFTNESS = 0.12
"""Difference of calibrated scores, in standard deviations over all versions, at which a metric is
73 % sure.
"""
_SHARES = np.array(list(VOTES.values())) / sum(VOTES.values())


def scores(reference: Tensor, images: Tensor) -> Tensor:
    """What each metric says, (N, 6), in the order of VOTES; higher is closer to the reference.

    MDSI and FSIM see means of 2x2 pixels, as their authors' codes do for photographs of some 512
    pixels.

    Args:
        reference, images: (N, 3, H, W) in [0, 1], of at least 64 pixels a side.

    Raises:
        SettingError: piq or ssimulacra2 is not installed.
    """
    piq, table = _packages()
    x, y = reference, images
    half_x, half_y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    with torch.no_grad():
        found = {
            "haarpsi": piq.haarpsi(x, y, reduction="none"),
            "mdsi": -piq.mdsi(half_x, half_y, reduction="none"),
            "fsim": piq.fsim(half_x, half_y, reduction="none"),
            "ms_gmsd": -piq.multi_scale_gmsd(x, y, chromatic=True, reduction="none"),
            "dss": piq.dss(x, y, reduction="none"),
            "ssimulacra2": torch.tensor(
                [
                    ssimulacra2(*pair, table)
                    for pair in zip(*(t.permute(0, 2, 3, 1).numpy() for t in (x, y)))
                ]
            ),
        }
    return torch.stack([found[name].reshape(len(x)).float() for name in VOTES], 1)


def calibrate(values: np.ndarray) -> np.ndarray:
    """Scores (..., M) as normal quantiles of their ranks over all versions, so that a difference
    means as much for each metric.
    """
    flat = values.reshape(-1, values.shape[-1])
    ranks = rankdata(flat, axis=0)  # ties share their mean rank
    return ndtri((ranks - 0.5) / len(flat)).astype(np.float32).reshape(values.shape)


def agreement(calibrated_a: Any, calibrated_b: Any) -> Any:
    """Share of votes, in [0, 1], that a is closer than b; each metric is the surer the wider they
    lie apart.

    Args:
        calibrated_a, calibrated_b: (..., M), arrays or tensors, from :func:`calibrate`.
    """
    difference = (calibrated_a - calibrated_b) / SOFTNESS
    if isinstance(difference, Tensor):
        return torch.sigmoid(difference) @ torch.from_numpy(_SHARES).to(difference)
    return expit(difference) @ _SHARES


def ssimulacra2(reference: np.ndarray, image: np.ndarray, table: np.ndarray) -> float:
    """SSIMULACRA 2 (Sneyers, Cloudinary, 2022), at most 100, some fifty times as fast as the
    package, which reads files.

    Two deviations: six scales however small the picture, and edges that reflect.

    Args:
        reference, image: Float32 (H, W, 3) in [0, 1].
        table: The metric's 108 published weights.
    """
    weights = np.asarray(table).reshape(3, 6, 2, 3)  # channel, scale, norm, kind
    linear = [
        np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)
        for x in (reference, image)
    ]
    total = 0.0
    for scale in range(6):
        if scale:
            linear = [
                cv2.resize(
                    x, (-(-x.shape[1] // 2), -(-x.shape[0] // 2)), interpolation=cv2.INTER_AREA
                )
                for x in linear
            ]
        a, b = (_positive_xyb(x) for x in linear)
        mean_a, mean_b = _gaussian(a), _gaussian(b)
        structure = 2 * (_gaussian(a * b) - mean_a * mean_b) + 0.0009
        structure /= _gaussian(a * a + b * b) - mean_a**2 - mean_b**2 + 0.0009
        edges = (1 + np.abs(b - mean_b)) / (1 + np.abs(a - mean_a)) - 1
        for kind, lost in enumerate((1 - (1 - (mean_a - mean_b) ** 2) * structure, edges, -edges)):
            lost = np.maximum(lost, 0)
            total += (
                lost.mean((0, 1)) @ weights[:, scale, 0, kind]
                + (lost**4).mean((0, 1)) ** 0.25 @ weights[:, scale, 1, kind]
            )
    total *= 0.9562382616834844
    total = (
        2.326765642916932 * total
        - 0.020884521182843837 * total**2
        + 6.248496625763138e-05 * total**3
    )
    return float(100 - 10 * max(total, 0) ** 0.6276336467831387)


_OPSIN = np.array(
    [
        [0.3, 0.622, 0.078],
        [0.23, 0.692, 0.078],
        [0.24342268924547819, 0.20476744424496821, 1 - 0.24342268924547819 - 0.20476744424496821],
    ],
    np.float32,
)
_OPSIN_BIAS = np.float32(0.0037930732552754493)


def _positive_xyb(linear: np.ndarray) -> np.ndarray:
    first, second, third = np.moveaxis(
        np.cbrt(linear @ _OPSIN.T + _OPSIN_BIAS) - np.cbrt(_OPSIN_BIAS), 2, 0
    )
    y = (first + second) / 2
    return np.stack([(first - second) * 7 + 0.42, y + 0.01, third - y + 0.55], 2)


def _gaussian(x: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)


def _packages() -> tuple[Any, np.ndarray]:
    try:
        import piq
        from ssimulacra2.ssimulacra2 import weights
    except ModuleNotFoundError as error:
        raise SettingError(
            f"labels by agreement of metrics need {error.name}, which is not installed: pip "
            "install 'salcompress[train]', "
            "or give human judgements (--bapps, --triplets)"
        ) from None
    return piq, weights
