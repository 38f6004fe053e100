"""What a model of Detectron2's kind sees of a picture: its size once resized, padding not counted.

Detectron2's models see ``x["image"]`` as the mapper resized it. A model that resizes for itself has
a method ``input_size(height, width)``, as detectors have
(:class:`~salcompress.detectors.base.Detector`), and notes in each dict at test what it gave, as
``x["seen_size"]``: (height, width), or None where that is not known.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

SEEN_KEY = "seen_size"


def seen_size(model: nn.Module, height: int, width: int) -> tuple[int, int] | None:
    """(height, width) that a model sees of a picture that the mapper brought to so many pixels."""
    input_size: Any = getattr(model, "input_size", None)
    return (height, width) if input_size is None else input_size(height, width)


def noted_size(x: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) that a model saw of the picture of a dict; None if that is not known."""
    if SEEN_KEY in x:
        return x[SEEN_KEY]
    return tuple(x["image"].shape[-2:]) if "image" in x else None
