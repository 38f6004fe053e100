"""Measuring what is left, and writing tables from what is kept."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from salcompress.errors import SalcompressError
from salcompress.files import write_atomically
from salcompress.reproduction.documents import renew_tables, tables_in
from salcompress.reproduction.part import Item, Settings
from salcompress.reproduction.progress import Standing
from salcompress.workers import map_in_processes


def measure(standing: Standing, workers: int) -> None:
    """Measure the items of a part that are left. Each is kept at once.

    Raises:
        SalcompressError: The part cannot be measured here, or an item fails. What was measured
            before stays.
    """
    if standing.fault is not None:
        raise standing.fault
    left = standing.left
    beside = min(workers, len(left)) if standing.part.in_processes else 0
    with (
        tqdm(
            total=len(standing.items),
            initial=len(standing.items) - len(left),
            desc=standing.part.name,
            unit="item",
            disable=not left,
            smoothing=0.05,
            file=sys.stderr,
        ) as progress,
        map_in_processes(_measured, left, beside) as results,
    ):
        for item, measured in zip(left, results, strict=True):
            if isinstance(measured, SalcompressError):
                raise measured
            standing.kept.keep(item, *measured)
            progress.update()


def tables_of(standing: Standing, settings: Settings) -> dict[str, str]:
    """The tables of a part, each with a line on what it is of. There are none unless all items are
    current.
    """
    current = standing.current
    if current is None:
        return {}
    figures = {name: kept.figures for name, kept in current.items()}
    days = sorted({kept.measured for kept in current.values()})
    weights = sorted({kept.of["weights"] for kept in current.values() if "weights" in kept.of})
    versions = sorted({kept.of["salcompress"] for kept in current.values()})
    foot = (
        f"Measured on {' to '.join(dict.fromkeys((days[0], days[-1])))} with salcompress "
        f"{', '.join(versions)}{', weights ' if weights else ''}{', '.join(weights)}: "
        f"`tools/reproduce.py --only {standing.part.name}`."
    )
    tables = standing.part.tables(settings, figures)
    return {name: f"{table}\n\n{foot}" for name, table in tables.items()}


class Renewed(NamedTuple):
    """What became of tables."""

    changed: list[str]
    """Tables that were written anew, as ``NAME in DOCUMENT``."""
    homeless: list[str]
    """Tables that no document has a place for."""


def renew(tables: Mapping[str, str], documents: Sequence[Path], out: Path) -> Renewed:
    """Write tables to ``OUT/tables`` and where documents have their markers.

    Raises:
        DataError, OutputError: See :func:`~salcompress.reproduction.documents.renew_tables`.
    """
    places = {path: tables_in(path) for path in documents}  # also finds all faults before writing
    for name, table in tables.items():
        write_atomically(out / "tables" / f"{name}.md", table + "\n")
    changed = [f"{name} in {path}" for path in documents for name in renew_tables(path, tables)]
    return Renewed(changed, [n for n in tables if not any(n in held for held in places.values())])


def check(
    standings: Sequence[Standing], settings: Settings, documents: Sequence[Path]
) -> dict[str, str]:
    """What is to be said of tables that do not show the figures of what is there now.

    Args:
        standings: The parts that are asked about.
        settings: As of the measurement.
        documents: Markdown files.

    Returns:
        By what is out of date, such as ``all-codecs in tools/FIGURES.md``, why.

    Raises:
        DataError: A document cannot be read, or has a marker without a companion.
    """
    tables: dict[str, str] = {}
    faults = {}
    for standing in standings:
        if standing.left and standing.took:
            faults[f"part {standing.part.name}"] = (
                f"{len(standing.left)} of {len(standing.items)} items are stale or missing"
            )
        tables |= tables_of(standing, settings)
    for path in documents:
        for name, shown in tables_in(path).items():
            if name in tables and shown != tables[name]:
                faults[f"{name} in {path}"] = "it differs from the results"
    return faults


def _measured(item: Item) -> tuple[Any, float] | SalcompressError:
    started = time.perf_counter()
    try:
        return item.measure(), time.perf_counter() - started
    except SalcompressError as error:
        return error
