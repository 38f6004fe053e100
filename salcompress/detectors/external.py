"""Detectors of anyone: whatever a function of a Python file returns."""

import ast
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from salcompress.detectors.base import Detector
from salcompress.detectors.fingerprints import content_fingerprint, held_networks
from salcompress.detectors.neighbours import Neighbours
from salcompress.errors import DataError, SettingError

if TYPE_CHECKING:
    from torch import nn


class ExternalDetector:
    """A stranger's callable as a :class:`~salcompress.detectors.base.Detector`.

    Attributes:
        label: ``path/to/file.py:factory``, as it was asked for.
        fingerprint: Of the file, of the neighbours that it imported, of the files that they name
            and of the networks that the callable holds. Where the callable has a ``fingerprint`` of
            its own, that stands in place of the networks and named files.
        networks: The torch networks that the callable holds.
    """

    def __init__(
        self,
        detect: Any,
        label: str,
        fingerprint: str,
        networks: "tuple[nn.Module, ...]",
        neighbours: Neighbours,
    ):
        self.detect, self.label, self.fingerprint = detect, label, fingerprint
        self.networks, self._neighbours = networks, neighbours

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        """What the callable finds in an image, uint8 (H, W, 3)."""
        try:
            return self.detect(image)
        except ModuleNotFoundError:  # a neighbour asked for by name, not by an import statement
            with self._neighbours.importable():
                return self.detect(image)

    def input_size(self, height: int, width: int) -> Any:
        """What the callable's own ``input_size`` says; None where it has none. See
        :class:`~salcompress.detectors.base.Detector`.
        """
        input_size = getattr(self.detect, "input_size", None)
        return None if input_size is None else input_size(height, width)


def load_external_detector(path: str, factory: str) -> Detector:
    """The detector that ``factory()`` of a Python file returns.

    Raises:
        SettingError: No function is named, the file or the function is missing, or what it returns
            cannot be called.
        DataError: The file or the function fails; the message carries its own.
    """
    if not factory:
        raise SettingError(
            f"detector {path} names no function; write {path}:FUNCTION, where FUNCTION() returns "
            f"the detector{_functions_of(path)}"
        )
    made = _make(path, factory)
    modules = {"": made.module} | made.neighbours.imported
    fingerprint = content_fingerprint(made.value, factory, modules)
    networks = held_networks(made.value, modules)
    return ExternalDetector(made.value, f"{path}:{factory}", fingerprint, networks, made.neighbours)


def load_external(path: str, factory: str) -> Any:
    """What ``factory()`` of a Python file returns, a detector or a model, as it is.

    The file may import its neighbours; nobody else sees them, and ``sys.path`` stays as it was.

    Raises:
        SettingError: The file or the function is missing, or what it returns cannot be called.
        DataError: The file or the function fails; the message carries its own.
    """
    return _make(path, factory).value


class _Made(NamedTuple):
    """What a factory returned, and what it came from."""

    value: Any
    module: ModuleType
    neighbours: Neighbours


def _make(path: str, factory: str) -> _Made:
    if not Path(path).is_file():
        raise SettingError(f"detector file {path} does not exist")
    file = Path(path).resolve()
    neighbours = Neighbours(file.parent)
    try:
        module = neighbours.load(file)
    except Exception as error:  # whatever a stranger's file raises; the user needs its name
        raise DataError(
            f"detector file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    build = getattr(module, factory, None)
    if not callable(build):
        raise SettingError(f"detector file {path} has no function {factory!r}{_functions_of(path)}")
    try:
        with neighbours.importable():
            value = build()
    except Exception as error:
        raise DataError(f"{factory}() of {path} failed: {type(error).__name__}: {error}") from error
    if not callable(value):
        raise SettingError(
            f"{factory}() of {path} must return a callable, got {type(value).__name__}"
        )
    return _Made(value, module, neighbours)


def _functions_of(path: str) -> str:
    """The public functions of a file, for a message; nothing where it has none or is no Python."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    names = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    return f"; it has {', '.join(names[:8])}" if names else ""
