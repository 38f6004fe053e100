"""Fingerprints of detectors, of the content that they were made from, as far as it can be known."""

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from salcompress.files import digest, read_file

if TYPE_CHECKING:
    from torch import nn

_MOST_VALUES = 10_000


def network_fingerprint(network: "nn.Module", *about: str) -> str:
    """Of a network's weights, by name, type, shape and content, and of what else is said of it.

    Args:
        network: On any device.
        about: What else the detector depends on, such as the name of its architecture.
    """
    import torch

    parts: list[str | bytes] = list(about)
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            parts.append(f"{name} {value.dtype} {tuple(value.shape)}")
            parts.append(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest(*parts)


def content_fingerprint(value: Any, factory: str, modules: Mapping[str, ModuleType]) -> str:
    """Of what a factory of a Python file returned.

    It is of the source of each module; of each file that a text in their code names, a model's
    weights for example; and of the weights of each torch network that ``value`` holds. Where
    ``value`` says its own ``fingerprint``, a text, that stands for all but the sources. A file
    whose name is put together while the detector is called cannot be known.

    Args:
        value: The detector.
        factory: Name of the function that returned it.
        modules: By name, with "" for the file's own.
    """
    sources = {name: Path(str(m.__file__)) for name, m in modules.items() if _has_source(m)}
    parts = [factory]
    for name, source in sorted(sources.items()):
        parts += [name, digest(read_file(source))]
    own = getattr(value, "fingerprint", None)
    if isinstance(own, str):
        return digest(*parts, own)
    known = {source.resolve() for source in sources.values()}
    texts = {text for source in sources.values() for text in _texts_of(source)}
    networks, named = [], set()
    roots = [value, getattr(modules[""], factory, None)]
    roots += [v for m in modules.values() for v in vars(m).values() if isinstance(v, (str, Path))]
    for found in _reachable(roots, _names_of(modules)):
        if isinstance(found, (str, Path)):
            texts.add(str(found))
        else:
            networks.append(network_fingerprint(found))
    folders = {source.parent for source in sources.values()} | {Path()}
    for text in texts:
        named |= set(_files_named(text, folders)) - known
    return digest(*parts, *sorted(digest(read_file(file)) for file in named), *sorted(networks))


def held_networks(value: Any, modules: Mapping[str, ModuleType]) -> "tuple[nn.Module, ...]":
    """The torch networks that a value holds in containers, closures and attributes.

    Args:
        value: What a factory of a Python file returned.
        modules: The file and its neighbours, by name.
    """
    found = _reachable([value], _names_of(modules))
    return tuple(one for one in found if not isinstance(one, (str, Path)))


def _names_of(modules: Mapping[str, ModuleType]) -> set[str]:
    return {str(module.__name__) for module in modules.values()}


def _has_source(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", None)).endswith(".py")


def _texts_of(source: Path) -> Iterator[str]:
    """The texts in a file's code."""
    codes: list[CodeType] = [compile(read_file(source), str(source), "exec", dont_inherit=True)]
    while codes:
        constants = list(codes.pop().co_consts)
        while constants:
            constant = constants.pop()
            if isinstance(constant, CodeType):
                codes.append(constant)
            elif isinstance(constant, (tuple, frozenset)):
                constants += constant
            elif isinstance(constant, str):
                yield constant


def _files_named(text: str, folders: Iterable[Path]) -> Iterator[Path]:
    """Files that a text names, seen from any of the folders."""
    if not 0 < len(text) < 1024 or "\n" in text or "\0" in text:
        return
    for folder in folders:
        try:
            path = folder / text
            if path.is_file():
                yield path.resolve()
        except (OSError, ValueError):  # a text that cannot be a name on this system
            continue


def _reachable(roots: Iterable[Any], own_modules: set[str]) -> Iterator[Any]:
    """Texts, paths and torch networks that values hold: in containers, closures and attributes.

    Attributes are followed of functions and objects that the file and its neighbours define.
    """
    network = getattr(sys.modules.get("torch"), "nn", None)
    left = list(roots)
    seen: set[int] = set()
    while left and len(seen) < _MOST_VALUES:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (str, Path)) or (network and isinstance(value, network.Module)):
            yield value
        elif isinstance(value, (list, tuple, set, frozenset)):
            left += value
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, functools.partial):
            left += [value.func, value.args, value.keywords]
        elif isinstance(value, MethodType):
            left += [value.__self__, value.__func__]
        elif isinstance(value, FunctionType):
            cells = [cell for cell in value.__closure__ or () if _is_filled(cell)]
            left += [cell.cell_contents for cell in cells]
            left += [value.__defaults__ or (), value.__kwdefaults__ or {}]
        elif type(value).__module__ in own_modules:
            left += getattr(value, "__dict__", {}).values()


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True
