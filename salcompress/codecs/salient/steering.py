"""Where saliency steers the bits: which function steers, what it is called, and the levels that
come of its map.

A level is the quality of a 64x64 cell. ``models/quality_map.py`` says how levels are allocated.
"""

import contextlib
import contextvars
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from salcompress.bitstream.container import check_size
from salcompress.bitstream.format import CELL, cells_of
from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.image import check_image
from salcompress.saliency.sources import VALID, saliency_source

SaliencyFunction = Callable[[np.ndarray], np.ndarray]
"""A map (H, W) in [0, 1] of an image, uint8 (H, W, 3)."""


def cell_levels(saliency: np.ndarray, quality: float, strength: float) -> np.ndarray:
    """Quality level of each 64x64 cell of an image, uint8 (rows, columns).

    Args:
        saliency: The image's map, (H, W) in [0, 1].
        quality: Base quality in [0, 1].
        strength: Levels between a cell of saliency 0 and one of saliency 1.
    """
    from salcompress.models.quality_map import allocate_levels, block_means

    means = block_means(saliency, *cells_of(*saliency.shape), CELL)
    return allocate_levels(quality, means, strength)


def checked_map(function: SaliencyFunction, image: np.ndarray) -> np.ndarray:
    """What a saliency function says of an image: a map (H, W) in [0, 1].

    Raises:
        SettingError: ``image`` is no image or too large, or the map is of another size, or out of
            [0, 1].
    """
    check_encodable(image)
    saliency = np.asarray(steering_map(function, image))
    if saliency.shape != image.shape[:2]:
        raise SettingError(
            f"the saliency map is {saliency.shape}, and the image {image.shape[:2]} (height, "
            "width); maps are never rescaled: resize it to the image's size"
        )
    is_fraction = np.issubdtype(saliency.dtype, np.floating) or saliency.dtype == bool
    if not is_fraction or not np.all((saliency >= 0) & (saliency <= 1)):
        cure = "; divide an 8-bit map by 255" if saliency.dtype == np.uint8 else ""
        raise SettingError(
            "the saliency map must be of float or bool in [0, 1], without NaN; got "
            f"{saliency.dtype} from {saliency.min()} to {saliency.max()}{cure}"
        )
    return saliency


def check_encodable(image: np.ndarray) -> None:
    """Raise unless the codec can encode an image.

    Raises:
        SettingError: It is not uint8 (H, W, 3), or it is too large for the format.
    """
    check_image(image)
    check_size(*image.shape[:2])


def named_function(saliency: Any) -> tuple[SaliencyFunction, str]:
    """What steers, and what it is called in settings.

    A map (H, W) becomes a function that says it of every image. Its name is of its content. A
    function that has a ``label`` is named by that.

    Raises:
        SettingError: It is neither a source of :mod:`salcompress.saliency.sources`, nor a function,
            nor a map.
        DataError: Files that a source names are damaged or fail.
    """
    if isinstance(saliency, str):
        return saliency_source(saliency), saliency
    if isinstance(saliency, np.ndarray):
        content = np.ascontiguousarray(saliency).tobytes()
        label = f"map-{digest(str(saliency.shape), str(saliency.dtype), content)[:12]}"
        return _FixedMap(saliency), label
    if not callable(saliency):
        came = type(saliency).__name__
        raise SettingError(
            f"saliency must be one of {VALID}, a function or a map (H, W), got {came}"
        )
    return saliency, _label(saliency)


def _label(function: SaliencyFunction) -> str:
    """A function's own label, or else a name that no other codec has.

    What a function does cannot be known. With a name of its own, caches and records never take one
    function's streams for another's.
    """
    if isinstance(getattr(function, "label", None), str):
        return function.label  # type: ignore[attr-defined]  # as has just been seen
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{name}-{secrets.token_hex(6)}"


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
