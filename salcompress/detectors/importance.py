"""Importance of the places of a picture for a detector, as a saliency function.

How much a place matters is how much the features of the detector's backbone change for a change of
the picture there: the squared norm of the columns of their Jacobian. A small error of variance s at
each pixel x then changes the features, by the measure of
:func:`~salcompress.detectors.feature_distance.feature_distance`, by the sum over x of s times the
importance of x. A step of quantisation that rises and falls with its logarithm follows from that.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.format import CELL
from salcompress.detectors.feature_distance import channel_weights
from salcompress.detectors.features import DetectorFeatures, load_features
from salcompress.errors import SettingError
from salcompress.image import check_image, to_tensor
from salcompress.models.quality_map import block_means

NUM_PROJECTIONS = 4
"""Random projections of the features, each a backward pass."""
OCTAVES = 6.0
"""Octaves of importance between a cell of saliency 0 and one of saliency 1.

Cells that weigh as their importance in the codec's own Lagrangian, whose lambda has 7.6 levels an
octave, would take 45 levels for it. On 30 pictures strengths of 8 to 32 took 4 to 6 % fewer bits at
equal feature distance than none, and 45 took 1 % fewer (``tools/FIGURES.md``).
"""


class ImportanceSaliency:
    """A saliency function: the importance of each cell for a detector, on a logarithmic scale.

    A cell of the picture's typical importance, the geometric mean over its cells, has saliency 0.5.
    One that is 2 ** (OCTAVES / 2) times as important has 1, and one that is as many times less
    important has 0. The map is the same within a cell.

    Args:
        features: Of the detector.
        label: What settings call the function: ``importance:`` and the detector's specification.

    Attributes:
        label: As given.
        fingerprint: Of the detector's content.
    """

    def __init__(self, features: DetectorFeatures, label: str):
        self.features, self.label = features, label
        self.fingerprint = f"importance@{features.fingerprint[:16]}"

    def __reduce__(self):
        return load_importance, (self.label.partition(":")[2],)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Saliency float32 (H, W) in [0, 1] of a uint8 (H, W, 3), RGB.

        Raises:
            SettingError: As of :func:`cell_importance`.
            DataError: The detector fails.
        """
        check_image(image)
        height, width = image.shape[:2]
        saliency = log_scaled(cell_importance(self.features, image)).astype(np.float32)
        return saliency.repeat(CELL, 0).repeat(CELL, 1)[:height, :width]


def load_importance(spec: str) -> ImportanceSaliency:
    """The saliency function of ``importance:SPEC``; one object for all calls in a process.

    Args:
        spec: Of a detector, as of :func:`salcompress.detectors.load_detector`.

    Raises:
        SettingError: As there, or the detector has no features.
        DataError: As there.
    """
    return _load(spec)


@functools.lru_cache(4)
def _load(spec: str) -> ImportanceSaliency:
    return ImportanceSaliency(load_features(spec), f"importance:{spec}")


def cell_importance(features: DetectorFeatures, image: np.ndarray, cell: int = CELL) -> np.ndarray:
    """How much the features change for a small change of the picture, by cells.

    It is the mean over a cell's pixels of the squared norm of their columns of the Jacobian, for
    all channels together. The norm comes of random projections: for signs v drawn independently,
    the expectation of the square of the gradient of v . f is the sum of the squares of the
    Jacobian's column (Hutchinson 1989). Features count as in
    :func:`~salcompress.detectors.feature_distance.feature_distance`. The gradient is of the picture
    at the size at which the detector sees it, which bounds memory.

    Args:
        features: Of the detector.
        image: uint8 (H, W, 3), RGB.
        cell: Side of a cell in pixels of ``image``.

    Returns:
        float64 (rows, columns), at least 0. The same in each call.

    Raises:
        SettingError: The features do not depend on the picture, or their gradient is not finite.
        DataError: The detector fails.
    """
    height, width = image.shape[:2]
    rows, columns = -(-height // cell), -(-width // cell)
    squares = _squared_columns(features, to_tensor(image)).cpu().numpy().astype(np.float64)
    # each pixel of the image takes the value of the one that the detector sees there
    within = [
        np.minimum((np.arange(size) + 0.5) * seen / size, seen - 1).astype(np.int64)
        for size, seen in zip((height, width), squares.shape)
    ]
    largest = squares.max()
    if not largest:
        return np.zeros((rows, columns))
    return largest * block_means((squares / largest)[np.ix_(*within)], rows, columns, cell)


def log_scaled(importance: np.ndarray) -> np.ndarray:
    """Importance of cells, at least 0, on the logarithmic scale of :class:`ImportanceSaliency`, in
    [0, 1]; 0.5 everywhere where none is important.

    >>> log_scaled(np.array([[1.0, 1.0], [64.0, 1 / 64]])).round(2).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    mean = importance.mean()
    if not mean:
        return np.full(importance.shape, 0.5)
    # a cell without any importance must not draw the others' mean to zero
    octaves = np.log2(np.maximum(importance / mean, 2.0**-12))
    return np.clip(0.5 + (octaves - octaves.mean()) / OCTAVES, 0, 1)


def _squared_columns(features: DetectorFeatures, picture: Tensor) -> Tensor:
    """Estimated squared norm of the Jacobian's columns of each pixel that the detector sees, (h,
    w).
    """
    generator = torch.Generator().manual_seed(0)
    # a caller's inference mode forbids gradients for good to all tensors that are made in it
    with torch.inference_mode(False), torch.enable_grad():
        shown = features.shown(picture).detach().clone().requires_grad_()
        scaled = _scaled(features.of_shown(shown))
        if not any(value.requires_grad for value in scaled):
            raise SettingError(
                f"the features of detector {features.label} have no gradient with respect to the "
                "picture: its backbone must consist of differentiable operations of torch"
            )
        squares = torch.zeros(shown.shape[2:], device=shown.device)
        for k in range(NUM_PROJECTIONS):
            signs = [
                (torch.randint(0, 2, value.shape, generator=generator) * 2 - 1).to(value)
                for value in scaled
            ]
            (gradient,) = torch.autograd.grad(
                scaled, shown, signs, retain_graph=k + 1 < NUM_PROJECTIONS
            )
            squares += gradient[0].square().sum(0) / NUM_PROJECTIONS
    if not squares.isfinite().all():
        raise SettingError(
            f"the gradient of the features of detector {features.label} is not finite: its weights "
            "are damaged, or its backbone has an operation without a derivative, as a square root "
            "at 0"
        )
    return squares


def _scaled(features: dict[str, Tensor]) -> list[Tensor]:
    """Features such that their squared difference, summed, is the feature distance."""
    weights = channel_weights({name: value.detach() for name, value in features.items()})
    return [
        value.float()
        * (weights[name] / (value[0].numel() * len(features))).sqrt()[None, :, None, None]
        for name, value in features.items()
    ]
