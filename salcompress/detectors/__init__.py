"""Detectors by specification: ``scenes``, ``torchvision:maskrcnn_resnet50_fpn``,
``detectron2:CONFIG``, ``path/to/file.py:factory``.
"""

import importlib
from collections.abc import Sequence

from salcompress.detectors.base import Detector
from salcompress.errors import SettingError
from salcompress.spec import parse_spec

__all__ = ["LOADERS", "Detector", "load_detector"]

LOADERS = {
    "scenes": "salcompress.detectors.scenes:load_scene_detector",
    "torchvision": "salcompress.detectors.torchvision:load_torchvision_detector",
    "detectron2": "salcompress.detectron.detector:load_detectron2_detector",
}
"""``module:function`` by the name that begins a specification.

The module is imported when it is asked for. The function takes the whole specification and the data
set's category ids, or None where they do not matter, and gives a :class:`Detector`.
"""
_INSTALLED_BY = {
    "detectron2": "https://detectron2.readthedocs.io/en/latest/tutorials/install.html",
}
"""Where it says how to install a package that only some detectors need."""


def load_detector(spec: str, category_ids: Sequence[int] | None = None) -> Detector:
    """The detector of a specification, for a data set.

    * ``scenes[:weights=FILE][,device=cpu]``: the small Mask R-CNN shipped for this package's
      synthetic scenes;
    * ``torchvision:NAME[,weights=FILE][,device=cpu]``: a Faster R-CNN or Mask R-CNN of torchvision;
    * ``detectron2:CONFIG[,weights=FILE][,device=cpu]``: a Detectron2 model, of a config file or a
      name of its model zoo;
    * ``path/to/file.py:factory``: whatever ``factory()`` of that file returns. It gives the data
      set's own category ids. A method ``input_size(height, width)`` of it may say what it resizes
      an image to.

    Args:
        spec: The specification.
        category_ids: The data set's category ids, sorted, as
            :attr:`salcompress.data.coco.CocoDataset.category_ids` has them. Class k of a model is
            the k-th of them. None where nobody asks which categories the results are of, but for
            the detector's features.

    Raises:
        SettingError: The specification is wrong, a file that it names is missing, a package that it
            needs is not installed, or the model has another number of classes than the data set has
            categories.
        DataError: Weights are damaged or cannot be downloaded, or an external file fails.
    """
    if not isinstance(spec, str):
        raise SettingError(f"a detector's specification must be text, got {type(spec).__name__}")
    path, _, factory = spec.rpartition(":")
    if path.endswith(".py") or spec.endswith(".py"):
        from salcompress.detectors.external import load_external_detector

        return load_external_detector(path or spec, factory if path else "")
    name = parse_spec(spec).name
    if name not in LOADERS:
        raise SettingError(
            f"unknown detector {spec!r}; valid: scenes[:weights=FILE], "
            "torchvision:NAME[,weights=FILE], "
            "detectron2:CONFIG[,weights=FILE], path/to/file.py:factory"
        )
    module, _, function = LOADERS[name].partition(":")
    try:
        load = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _INSTALLED_BY:
            raise
        raise SettingError(
            f"{spec!r} needs {package.title()}, which is not installed: {_INSTALLED_BY[package]}"
        ) from None
    return load(spec, category_ids)
