"""What a reproduction consists of: parts, and the items that each part measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


@dataclass(frozen=True)
class Settings:
    """On what, where to and with how many processes figures are measured."""

    data: Path
    """Folder of the pictures and data sets."""
    out: Path
    """Folder of the results."""
    detectors: tuple[str, ...] = ()
    """Specifications of the detectors that AP is measured with."""
    workers: int = 1
    """Processes that work. 0 does all work in this one."""


class Item(NamedTuple):
    """What is measured at one go, and kept and renewed by itself."""

    name: str
    """Unique in its part."""
    of: Mapping[str, str]
    """What the figures are of: fingerprints of weights, codecs, detectors and pictures. Figures
    that are of anything else are stale."""
    measure: Callable[[], Any]
    """Gives the figures, as JSON can hold them. It can be pickled."""


Figures: TypeAlias = Mapping[str, Any]
"""The figures of a part's items, by the item's name."""


class Part(NamedTuple):
    """Figures that are measured in the same way."""

    name: str
    what: str
    """What it measures, for the plan."""
    items: Callable[[Settings], list[Item]]
    """The items, in the order in which they are measured. It raises a SalcompressError where the
    part cannot be measured here."""
    tables: Callable[[Settings, Figures], Mapping[str, str]]
    """Markdown of all tables by their names, from the figures of all items."""
    guess_s: float
    """Roughly the seconds that all items take with one process, for a plan that is made before any
    was measured."""
    in_processes: bool = False
    """Whether items may be measured beside each other, in worker processes."""
    by_default: bool = True
    """Whether it is measured where no part is named."""
