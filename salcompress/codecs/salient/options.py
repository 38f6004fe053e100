"""The learned codec's options: what is valid, and how messages say so."""

import operator
from collections.abc import Mapping
from typing import Any

from salcompress.codecs.base import Option
from salcompress.saliency.functions import SALIENCY

MOST_STEPS = 10_000
"""Bound on the steps of the encoder's search: the gain is nearly all there after some hundred."""


def unit_interval(value: Any) -> float:
    """Converter to a number in [0, 1]."""
    return number(value, 0, 1)


def number(value: Any, low: float, high: float) -> float:
    """Converter to a number from ``low`` to ``high``."""
    try:
        converted = float(value)
    except (TypeError, ValueError):
        converted = float("nan")
    if not low <= converted <= high:
        raise ValueError(f"a number from {low:g} to {high:g}")
    return converted


def effort(value: Any) -> int:
    """Converter to the steps of a search: an integer, or the text of one."""
    try:
        steps = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        steps = -1
    if isinstance(value, bool) or not 0 <= steps <= MOST_STEPS:
        raise ValueError(f"an integer from 0 to {MOST_STEPS}")
    return steps


def saliency_name(value: Any) -> str:
    """Converter to the name of a saliency function."""
    if value not in SALIENCY:
        raise ValueError(f"one of {', '.join(SALIENCY)}")
    return value


OPTIONS: Mapping[str, Option] = {
    "q": Option(0.5, unit_interval, "base quality"),
    "saliency": Option("network", saliency_name, " or ".join(SALIENCY)),
    "saliency_strength": Option(
        24.0, lambda v: number(v, 0, 64), "quality levels between least and most salient"
    ),
    "effort": Option(0, effort, "steps of the encoder's search for fewer bits, as 150"),
    "weights": Option(None, str, "weights file, the shipped one"),
    "device": Option(None, str, "cpu, cuda, ..., CUDA where there is one"),
}
