"""What a detector is."""

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from salcompress.errors import DataError, SettingError


class Detector(Protocol):
    """Finds objects in one image.

    A detector may have a method ``input_size(height, width)``, too. It says to which (height,
    width) the detector resizes an image of so many pixels before its network sees it, padding not
    counted; or None where the network sees several sizes. Rows then have ``bpp_detector``, which is
    null for a detector without the method.

    A detector may have an attribute ``networks``, too: the torch networks that it holds. Its
    features come from the first of them that has a ``backbone``, as
    :class:`~salcompress.detectors.features.DetectorFeatures` says.
    """

    label: str
    """The specification that made it, as reports show it."""
    fingerprint: str
    """Of the content of all that it was made from: code, weights and settings, never a path."""

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Detect.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            COCO results without ``image_id``. Each has a ``category_id`` of the data set, a
            ``bbox`` [x, y, w, h] in pixels of ``image``, and a ``score`` in [0, 1]. A detector that
            gives masks adds ``segmentation`` as compressed run lengths.
        """


def input_size_of(detector: Detector, height: int, width: int) -> tuple[int, int] | None:
    """Height and width of what a detector's network sees of an image; None where it does not say.

    Raises:
        DataError: Its ``input_size`` fails, or gives no two whole numbers of at least 1.
    """
    input_size = getattr(detector, "input_size", None)
    if input_size is None:
        return None
    try:
        given = input_size(height, width)
        if given is None:
            return None
        seen_height, seen_width = map(operator.index, given)
        if min(seen_height, seen_width) < 1:
            raise ValueError(f"got {given!r}")
    except Exception as error:  # a stranger's code
        raise DataError(
            f"input_size({height}, {width}) of the detector must give (height, width), whole "
            f"numbers of at least 1, or None: {type(error).__name__}: {error}"
        ) from error
    return seen_height, seen_width


def check_num_classes(label: str, num_classes: int, category_ids: Sequence[int]) -> None:
    """Raise unless a model has one class for each category of the data set.

    Raises:
        SettingError: The numbers differ; the message names both.

    >>> check_num_classes("scenes", 6, range(1, 7))
    """
    if num_classes != len(category_ids):
        raise SettingError(
            f"detector {label} has {num_classes} classes, and the data set has "
            f"{len(category_ids)} categories: it was trained for other data. Choose a detector of "
            "this data set; class k stands for the k-th of its sorted category ids"
        )
