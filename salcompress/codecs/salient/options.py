"""The learned codec's options."""

from collections.abc import Mapping

from salcompress.codecs.base import Option, integer_option, number_option
from salcompress.saliency.sources import VALID, is_source

MOST_STEPS = 10_000
"""Bound on the steps of the encoder's search: the gain is nearly all there after some hundred."""


def _source(value: str) -> str:
    if not is_source(value):
        raise ValueError
    return value


OPTIONS: Mapping[str, Option] = {
    "q": number_option(0.5, 0, 1, "base quality"),
    "saliency": Option("network", _source, "what steers the bits", f"one of {VALID}"),
    "saliency_strength": number_option(
        24.0, 0, 64, "quality levels between least and most salient"
    ),
    "effort": integer_option(
        0, 0, MOST_STEPS, "steps of the encoder's search for fewer bits, as 150"
    ),
    "weights": Option(
        "photo", str, "weights", "a name in the model zoo or in SALCOMPRESS_WEIGHTS, or a file"
    ),
    "device": Option(
        None, str, "where it computes", "cpu, cuda or cuda:N", "CUDA where there is one"
    ),
}
