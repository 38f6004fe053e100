"""What a detector is, and how an external one is loaded."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from salcompress.errors import DataError, SettingError


class Detector(Protocol):
    """Finds objects in one image."""

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Detect.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            COCO results without ``image_id``: ``category_id`` (as in the annotations), ``bbox`` [x,
            y, w, h] in pixels of ``image``, ``score`` in [0, 1] and, from a detector that gives
            masks, ``segmentation`` as compressed RLE.
        """


def load_external(path: str, factory: str) -> Detector:
    """The detector that ``factory()`` of a Python file returns.

    Raises:
        SettingError: The file or the function is missing, or what it returns cannot be called.
        DataError: The file or the function fails; the message carries its own.
    """
    if not Path(path).is_file():
        raise SettingError(f"detector file {path} does not exist")
    module_spec = importlib.util.spec_from_file_location(
        f"salcompress_external_{Path(path).stem}", path
    )
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses and pickle look a module up by its name
    sys.path.append(str(Path(path).resolve().parent))  # so that the file can import its neighbours
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises; the user needs its name
        raise DataError(
            f"detector file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    build = getattr(module, factory, None)
    if not callable(build):
        raise SettingError(f"detector file {path} has no function {factory!r}")
    try:
        detector = build()
    except Exception as error:
        raise DataError(f"{factory}() of {path} failed: {type(error).__name__}: {error}") from error
    if not callable(detector):
        raise SettingError(
            f"{factory}() of {path} must return a callable, got {type(detector).__name__}"
        )
    return detector
