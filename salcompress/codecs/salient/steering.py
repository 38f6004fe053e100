"""What steers the learned codec: a saliency function by name, a caller's own, or a map; and what it
is called in settings.
"""

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.saliency.functions import SALIENCY

SaliencyFunction = Callable[[np.ndarray], np.ndarray]
"""A map (H, W) in [0, 1] of an image, uint8 (H, W, 3)."""


def as_function(saliency: Any) -> SaliencyFunction:
    """A function as it is; a map (H, W) as what it says of every image.

    Raises:
        SettingError: It is neither.
    """
    if callable(saliency):
        return saliency
    if isinstance(saliency, np.ndarray):
        return _FixedMap(saliency)
    raise SettingError(
        f"saliency must be one of {', '.join(SALIENCY)}, a function or a map (H, W), got "
        f"{type(saliency).__name__}"
    )


def steering_label(saliency: Any) -> str:
    """A name, or what tells one map or function of a caller from another; a label with it is no
    specification.

    A function that has a ``label`` is named by that. What another does cannot be known: it gets a
    name that no other codec has, so that caches and records never take one function's streams for
    another's.
    """
    if isinstance(saliency, str):
        return saliency
    if isinstance(getattr(saliency, "label", None), str):
        return saliency.label
    if isinstance(saliency, np.ndarray):
        return (
            "map-"
            + digest(
                str(saliency.shape), str(saliency.dtype), np.ascontiguousarray(saliency).tobytes()
            )[:12]
        )
    return (
        f"{getattr(saliency, '__qualname__', type(saliency).__qualname__)}-{secrets.token_hex(6)}"
    )


class _FixedMap:
    """A map given by the caller, as a saliency function."""

    def __init__(self, saliency: np.ndarray):
        self.map = saliency

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.map
