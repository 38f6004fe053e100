"""What a detector is."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from salcompress.errors import SettingError


class Detector(Protocol):
    """Finds objects in one image."""

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
