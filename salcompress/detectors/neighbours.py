"""Imports of a file from beside it, which nobody else sees.

A stranger's file may import its neighbours, as a script does. Were its folder put on ``sys.path``
for good, a second file's ``import helper`` would give the first one's. So the neighbours of a file
are in ``sys.modules`` only while code of that file is importing.
"""

import builtins
import contextlib
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from salcompress.files import digest

_LOCK = threading.RLock()
_INSTALLED = tuple({path for key, path in sysconfig.get_paths().items() if key.endswith("lib")})


class Neighbours(MetaPathFinder):
    """The modules beside one file, and in the folders that it adds to ``sys.path`` itself.

    Every ``import`` in the file and in its neighbours finds them, at any time. What goes around the
    ``import`` statement, such as ``importlib.import_module`` or an unpickling, finds them while
    :meth:`importable` holds.

    Args:
        folder: Where the file lies.

    A package in a folder that is on ``sys.path`` anyway, or one that is installed from there, is
    everybody's: to import it a second time would give all its classes twice.

    Attributes:
        imported: What was imported from these folders, by name, everybody's packages among it.
    """

    def __init__(self, folder: Path):
        self.imported: dict[str, ModuleType] = {}
        self._modules: dict[str, ModuleType] = {}
        # what is installed can be imported by anyone
        self._folders = [] if str(folder) in _INSTALLED else [str(folder)]
        self._outer_path: list[str] | None = None  # sys.path as it was, while importable
        self._names: dict[tuple[str, ...], frozenset[str]] = {}
        self._builtins = dict(vars(builtins), __import__=self._import)

    def load(self, path: Path) -> ModuleType:
        """The module of a file, executed; it stays in ``sys.modules`` under a name of its own.

        Pickle and dataclasses look up a module by its name.
        """
        name = f"salcompress_external_{path.stem}_{digest(str(path))[:8]}"
        loader = _Loader(name, str(path), self._builtins)
        spec = spec_from_file_location(name, path, loader=loader)
        assert spec is not None  # a loader was given
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            with self.importable():
                loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Within the block the neighbours can be imported by anyone; for one file at a time."""
        with _LOCK:
            if self._outer_path is not None:  # this thread is within such a block already
                yield
                return
            self._outer_path = sys.path[:]
            hidden = self._take_modules()
            known = set(sys.modules)
            sys.modules.update(self._modules)
            sys.path[:0] = self._folders
            sys.meta_path.insert(0, self)
            try:
                yield
            finally:
                sys.meta_path.remove(self)
                self._folders = self._places()
                self._modules = self._take_modules()
                self.imported |= self._modules | self._shared_modules(known)
                sys.modules.update(hidden)
                installed = [p for p in sys.path if p.startswith(_INSTALLED)]
                sys.path[:] = [
                    *self._outer_path,
                    *(p for p in installed if p not in self._outer_path),
                ]
                self._outer_path = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a neighbour is; None for a module that is none. (Python's import calls it.)"""
        if fullname.partition(".")[0] not in self._owned():
            return None
        spec = PathFinder.find_spec(fullname, self._places() if path is None else path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, self._builtins)
        return spec

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """``import`` as the file and its neighbours have it."""
        absolute = ((globals or {}).get("__package__") or "") if level else name
        if absolute.partition(".")[0] not in self._owned():
            return builtins.__import__(name, globals, locals, fromlist, level)
        with self.importable():
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _places(self) -> list[str]:
        """The file's folder, and the folders that its code put on ``sys.path`` meanwhile."""
        if self._outer_path is None:
            return self._folders
        known = {*self._folders, *self._outer_path}
        added = [p for p in sys.path if p not in known and not p.startswith(_INSTALLED)]
        return [*self._folders, *dict.fromkeys(added)]

    def _owned(self) -> frozenset[str]:
        """Names, without dots, of the modules that lie beside the file."""
        places = tuple(self._places())
        if places not in self._names:
            self._names[places] = frozenset(
                _own_names(places, sys.path if self._outer_path is None else self._outer_path)
            )
        return self._names[places]

    def _shared_modules(self, known: set[str]) -> dict[str, ModuleType]:
        """Modules that are new in ``sys.modules``, lie in our folders and are everybody's."""
        folders = tuple(os.path.join(folder, "") for folder in self._folders)
        return {
            name: module
            for name, module in list(sys.modules.items())
            if name not in known
            and not isinstance(getattr(module, "__loader__", None), _Loader)
            and str(getattr(module, "__file__", None)).startswith(folders)
        }

    def _take_modules(self) -> dict[str, ModuleType]:
        """Take the modules of the neighbours' names out of ``sys.modules``."""
        owned = self._owned()
        names = [name for name in sys.modules if name.partition(".")[0] in owned]
        return {name: sys.modules.pop(name) for name in names}


class _Loader(SourceFileLoader):
    """Executes a file with an ``import`` of its own, always from its source."""

    def __init__(self, name: str, path: str, own_builtins: dict[str, Any]):
        super().__init__(name, path)
        self._own_builtins = own_builtins

    def path_stats(self, path: str) -> Any:
        """Say that there is no time of change: compiled code of a second ago may be outdated."""
        raise OSError

    def exec_module(self, module: ModuleType) -> None:
        """Execute, with our builtins among the module's globals, where Python looks for them."""
        module.__dict__["__builtins__"] = self._own_builtins
        super().exec_module(module)


def _own_names(places: Sequence[str], outer_path: Sequence[str]) -> Iterator[str]:
    """Names of the modules in some folders that are not everybody's."""
    names = {entry.partition(".")[0] for place in places for entry in _entries(place)}
    for name in names - sys.stdlib_module_names - {"", "salcompress"}:
        spec = PathFinder.find_spec(name, places)
        if spec is not None and not _is_shared(name, spec, outer_path):
            yield name


def _is_shared(name: str, spec: ModuleSpec, outer_path: Sequence[str]) -> bool:
    """Whether everybody has what ``spec`` finds, or has a package where we see a plain folder."""
    loaded = sys.modules.get(name)
    others: list[ModuleSpec | None] = []
    if not isinstance(getattr(loaded, "__loader__", None), _Loader):
        others.append(getattr(loaded, "__spec__", None))
    if spec.submodule_search_locations is not None:  # a module of one file is no great loss
        for finder in sys.meta_path:
            if finder is PathFinder:
                others.append(PathFinder.find_spec(name, outer_path))
            elif not isinstance(finder, Neighbours):
                others.append(finder.find_spec(name, None))
    found = [other for other in others if other is not None]
    if spec.loader is None:
        return bool(found)
    return any(other.origin == spec.origin for other in found)


def _entries(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []
