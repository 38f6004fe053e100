"""What steers the learned codec: a saliency function by name, a caller's own, or a map; and what it
is called in settings.
"""

import contextlib
import contextvars
import secrets
import time
from collections.abc import Callable, Iterator
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


class RememberedSaliency:
    """Saliency maps that were computed already, by function and image.

    Attributes:
        saved_s: Seconds that the functions would have taken again for the maps that were asked for
            more than once. Add them to a measured time that must not depend on what ran before.
    """

    def __init__(self) -> None:
        self.saved_s = 0.0
        self._known: dict[
            tuple[int, int], tuple[SaliencyFunction, np.ndarray, np.ndarray, float]
        ] = {}

    def map_of(self, function: SaliencyFunction, image: np.ndarray) -> np.ndarray:
        """``function(image)``, computed once for each pair of objects."""
        # by identity, since neither need be hashable; both are held, so that no other has their id
        key = id(function), id(image)
        if key in self._known:
            *_, saliency, seconds = self._known[key]
            self.saved_s += seconds
            return saliency
        started = time.perf_counter()
        saliency = function(image)
        seconds = time.perf_counter() - started
        self._known[key] = function, image, saliency, seconds
        return saliency


_remembered: contextvars.ContextVar[RememberedSaliency | None] = contextvars.ContextVar(
    "remembered_saliency", default=None
)


@contextlib.contextmanager
def remembered_saliency() -> Iterator[RememberedSaliency]:
    """Within the context, saliency functions see each image once, whatever codecs ask for its map.

    The images and the functions' states must not change in between. Other threads see nothing of
    the context. Within another such context it is that one.
    """
    outer = _remembered.get()
    if outer is not None:
        yield outer
        return
    remembered = RememberedSaliency()
    token = _remembered.set(remembered)
    try:
        yield remembered
    finally:
        _remembered.reset(token)


def steering_map(function: SaliencyFunction, image: np.ndarray) -> np.ndarray:
    """``function(image)``, out of :func:`remembered_saliency` where there is such a context."""
    remembered = _remembered.get()
    return function(image) if remembered is None else remembered.map_of(function, image)


class _FixedMap:
    """A map given by the caller, as a saliency function."""

    def __init__(self, saliency: np.ndarray):
        self.map = saliency

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.map
