"""Labels without people: how far published metrics agree on which of two versions is closer.

This is no human judgement, and must never be called so. The metrics are full-reference ones, and
they are needed here alone: ``pip install salcompress[train]``.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import expit, ndtri
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.training.metric.ssimulacra2 import ssimulacra2

VOTES: Mapping[str, float] = {
    "haarpsi": 1,
    "mdsi": 1,
    "fsim": 1,
    "ms_gmsd": 1,
    "dss": 1,
    "ssimulacra2": 3,
    "cvvdp": 3,
}
"""The metrics, each with its number of votes.

PSNR, SSIM and MS-SSIM have none, because the learned metric is compared with them. SSIMULACRA 2 has
three, because it was fitted to ratings of compressed photographs. ColorVideoVDP has three, because
it agrees best with people on compression (published: rank correlation .96 on JPEG AIC-4). Our
choice.
"""
DISPLAY = "standard_fhd"
"""The display on which ColorVideoVDP sees pictures: 24 inches, 1920x1080, from 0.6 m, 38 pixels to
a degree. On its ``standard_4k``, of 75 pixels to a degree, JPEG at q=60 differed half as much from
a crop of a Kodak image. Our choice.
"""
SOFTNESS = 0.12
"""A metric is 73 % sure of a choice where calibrated scores differ by this much. The unit is the
standard deviation over all versions. Our choice.
"""
_SHARES = np.array(list(VOTES.values())) / sum(VOTES.values())


def scores(reference: Tensor, images: Tensor) -> Tensor:
    """Score images by each metric.

    MDSI and FSIM see means of 2x2 pixels, as their authors' codes do for photographs of some 512
    pixels.

    Args:
        reference: The references, (N, 3, H, W) in [0, 1], of at least 64 pixels a side.
        images: A version of each, of the same shape.

    Returns:
        (N, 7) in the order of :data:`VOTES`. A higher score is closer to the reference.

    Raises:
        SettingError: piq, ssimulacra2 or cvvdp is not installed.
    """
    piq, table, cvvdp = _packages()
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
                    ssimulacra2(a, b, table)
                    for a, b in zip(x.permute(0, 2, 3, 1).numpy(), y.permute(0, 2, 3, 1).numpy())
                ]
            ),
            "cvvdp": torch.tensor(
                [float(cvvdp.predict(b, a, dim_order="CHW")[0]) for a, b in zip(x, y)]
            ),
        }
    return torch.stack([found[name].reshape(len(x)).float() for name in VOTES], 1)


def calibrate(values: np.ndarray) -> np.ndarray:
    """Turn scores into normal quantiles of their ranks over all versions.

    A difference then means as much for each metric.

    Args:
        values: Scores, (..., M).

    Returns:
        Float32 (..., M), for each metric of mean 0 and standard deviation about 1.
    """
    flat = values.reshape(-1, values.shape[-1])
    ranks = rankdata(flat, axis=0)  # ties share their mean rank
    return ndtri((ranks - 0.5) / len(flat)).astype(np.float32).reshape(values.shape)


def agreement(calibrated_a: Any, calibrated_b: Any) -> Any:
    """Share of the votes that version a is closer than version b.

    Each metric is the surer, the wider its two scores lie apart.

    Args:
        calibrated_a: Scores of :func:`calibrate`, (..., M), an array or a tensor.
        calibrated_b: Scores of the other version, of the same kind.

    Returns:
        (...) in [0, 1].
    """
    difference = (calibrated_a - calibrated_b) / SOFTNESS
    if isinstance(difference, Tensor):
        return torch.sigmoid(difference) @ torch.from_numpy(_SHARES).to(difference)
    return expit(difference) @ _SHARES


@functools.cache
def _packages() -> tuple[Any, np.ndarray, Any]:
    """The package piq, the weights of SSIMULACRA 2, and ColorVideoVDP.

    ColorVideoVDP: Mantiuk et al., "ColorVideoVDP: A visual difference predictor for image, video
    and display distortions", SIGGRAPH 2024.
    """
    try:
        import piq
        import pycvvdp
        from ssimulacra2.ssimulacra2 import weights
    except ModuleNotFoundError as error:
        raise SettingError(
            f"labels by agreement of metrics need {error.name}, which is not installed: pip "
            "install 'salcompress[train]', or give human judgements (--bapps, --triplets)"
        ) from None
    cvvdp = pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"), quiet=True)
    return piq, weights, cvvdp
