"""Figures on disk: one JSON file a part, which is written whole after each item."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from salcompress import __version__
from salcompress.errors import DataError
from salcompress.files import read_file, write_atomically
from salcompress.reproduction.part import Item


class Kept(NamedTuple):
    """What was measured for an item."""

    of: Mapping[str, str]
    """What the figures are of: as of the item, and the version of this package."""
    measured: str
    """The day, as 2026-01-31."""
    seconds: float
    """Wall time that measuring took."""
    figures: Any


class KeptFigures:
    """The figures of one part.

    Args:
        path: The file. It need not exist.

    Raises:
        DataError: It is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self._kept: dict[str, Kept] = {}
        if path.exists():
            try:
                for name, kept in json.loads(read_file(path))["items"].items():
                    self._kept[name] = Kept(**kept)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(
                    f"{path} is damaged ({error}); delete it, and measure again"
                ) from error

    def of(self, item: Item) -> Kept | None:
        """What was measured for an item, of whatever it was; None if nothing was."""
        return self._kept.get(item.name)

    def current(self, item: Item) -> Kept | None:
        """What was measured for an item of what is there now; None if nothing was."""
        kept = self.of(item)
        return kept if kept is not None and kept.of == identity(item) else None

    def keep(self, item: Item, figures: Any, seconds: float) -> None:
        """Keep figures in place of older ones.

        Raises:
            OutputError: The file cannot be written.
        """
        day = datetime.date.today().isoformat()
        self._kept[item.name] = Kept(identity(item), day, round(seconds, 2), figures)
        items = {name: kept._asdict() for name, kept in self._kept.items()}
        write_atomically(self.path, json.dumps({"items": items}, allow_nan=False, indent=1))


def identity(item: Item) -> dict[str, str]:
    """What figures that are measured now are of."""
    return {"salcompress": __version__, **item.of}
