"""Detectors by specification: ``scenes``, ``torchvision:maskrcnn_resnet50_fpn``,
``path/to/file.py:factory``.
"""

from collections.abc import Iterator
from pathlib import Path

from salcompress.detectors.base import Detector, load_external
from salcompress.errors import SettingError
from salcompress.files import digest, read_file
from salcompress.spec import Spec, parse_spec, single_options

__all__ = ["Detector", "detector_fingerprint", "load_detector"]

_WEIGHTS = {"weights": "file with the state dict", "device": "cpu, cuda, cuda:1, ..."}


def load_detector(spec: str) -> Detector:
    """The detector of a specification.

    * ``scenes[:weights=FILE][,device=cpu]``: the small Mask R-CNN shipped for this package's
      synthetic scenes;
    * ``torchvision:NAME[,weights=FILE][,device=cpu]``: a Faster R-CNN or Mask R-CNN of torchvision;
    * ``path/to/file.py:factory``: whatever ``factory()`` of that file returns.

    (``detectron2:...`` is loaded by :mod:`salcompress.detectron.detector`, which needs Detectron2.)

    Raises:
        SettingError: The specification is wrong, or a file that it names is missing.
        DataError: Weights are damaged or cannot be downloaded, or an external file fails.
    """
    path, factory = _external(spec)
    if path:
        return load_external(path, factory)
    parsed = parse_spec(spec)
    options = single_options(spec, parsed, _WEIGHTS)
    if parsed.name == "scenes" and parsed.argument is None:
        from salcompress.detectors.scenes import load_scene_detector

        return load_scene_detector(**options)
    if parsed.name == "torchvision":
        from salcompress.detectors.torchvision import MODEL_NAMES, load_torchvision

        if parsed.argument is None:
            raise SettingError(
                f"{spec!r} names no model; write torchvision:NAME with one of "
                f"{', '.join(MODEL_NAMES)}"
            )
        return load_torchvision(parsed.argument, **options)
    raise SettingError(
        f"unknown detector {spec!r}; valid: scenes[:weights=FILE], "
        "torchvision:NAME[,weights=FILE], "
        "detectron2:CONFIG[,weights=FILE], path/to/file.py:factory"
    )


def detector_fingerprint(spec: str) -> str:
    """Digest of a specification and of the files that it names.

    Of ``path/to/file.py:factory`` that is the file itself, not what it reads or imports.

    Raises:
        DataError: A named file cannot be read.
    """
    path, _ = _external(spec)
    files = [path] if path else list(_named_files(parse_spec(spec)))
    return digest(spec, *(read_file(file) for file in files))


def _external(spec: str) -> tuple[str, str]:
    path, _, factory = spec.rpartition(":")
    return (path, factory) if path.endswith(".py") else ("", "")


def _named_files(spec: Spec) -> Iterator[Path]:
    if "weights" in spec.options:
        yield Path(spec.options["weights"][0])
    elif spec.name == "scenes":
        from salcompress.detectors.scenes import WEIGHTS

        yield WEIGHTS
