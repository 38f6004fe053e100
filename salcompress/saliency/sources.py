"""Saliency sources by the text that a specification has: ``network``, ``classical``, ``uniform``,
``importance:DETECTOR``.
"""

import importlib
from collections.abc import Callable

import numpy as np

from salcompress.errors import SettingError
from salcompress.saliency.functions import SALIENCY

FACTORIES = {"importance": ("salcompress.detectors.importance:load_importance", "DETECTOR")}
"""Of sources that take an argument after a colon, by name: ``module:function``, and what the
argument is called.

The module is imported when a source is asked for, because what it needs lies above saliency. The
function takes the argument, and gives a function with a ``label``, which is the source's text, and
a ``fingerprint`` of content.
"""
VALID = ", ".join([*SALIENCY, *(f"{name}:{meaning}" for name, (_, meaning) in FACTORIES.items())])
"""What a source may be, for messages."""


def is_source(text: str) -> bool:
    """Whether a text has the form of a source. Whether its argument is valid is not looked at.

    >>> is_source("network"), is_source("importance:scenes"), is_source("importance:")
    (True, True, False)
    """
    name, _, argument = text.partition(":")
    return text in SALIENCY or (name in FACTORIES and bool(argument))


def saliency_source(text: str) -> Callable[[np.ndarray], np.ndarray]:
    """The saliency function of a source.

    Raises:
        SettingError: There is no such source, or its argument is not valid.
        DataError: Files that the argument names are damaged or fail.
    """
    if not is_source(text):
        raise SettingError(f"saliency must be one of {VALID}, got {text!r}")
    if text in SALIENCY:
        return SALIENCY[text]
    name, _, argument = text.partition(":")
    module, _, function = FACTORIES[name][0].partition(":")
    return getattr(importlib.import_module(module), function)(argument)
