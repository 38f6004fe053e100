"""Where a reproduction stands: what is measured, what is stale, and how long the rest will take."""

from collections.abc import Sequence
from typing import NamedTuple

from salcompress.errors import SalcompressError
from salcompress.reporting.tables import text_table
from salcompress.reproduction.kept import Kept, KeptFigures
from salcompress.reproduction.part import Item, Part, Settings


class Standing(NamedTuple):
    """A part with what is kept of it."""

    part: Part
    items: list[Item]
    """Empty where it cannot be measured here."""
    kept: KeptFigures
    fault: SalcompressError | None = None
    """Why it cannot be measured here."""

    @property
    def left(self) -> list[Item]:
        """The items that have no figures of what is there now."""
        return [item for item in self.items if self.kept.current(item) is None]

    @property
    def current(self) -> dict[str, Kept] | None:
        """What is kept by the name of the item; None unless that is so of every item."""
        kept = {item.name: self.kept.current(item) for item in self.items}
        known = {name: found for name, found in kept.items() if found is not None}
        return known if known and len(known) == len(kept) else None

    @property
    def num_stale(self) -> int:
        """How many of the items left have figures of something else."""
        return sum(self.kept.of(item) is not None for item in self.left)

    @property
    def took(self) -> list[float]:
        """Seconds that each item took of which there are figures, whatever they are of."""
        return [kept.seconds for item in self.items if (kept := self.kept.of(item)) is not None]

    def left_s(self, workers: int) -> float:
        """Seconds that the items left will take. An item took what it took before; one that was
        never measured takes the mean of the others, or its share of the first guess.
        """
        share = self.part.guess_s / max(1, len(self.items))
        usual = sum(self.took) / len(self.took) if self.took else share
        found = [self.kept.of(item) for item in self.left]
        seconds = sum(usual if kept is None else kept.seconds for kept in found)
        return seconds / max(1, workers if self.part.in_processes else 1)


def standing_of(part: Part, settings: Settings) -> Standing:
    """Where a part stands.

    Raises:
        DataError: What is kept of it is damaged.
    """
    kept = KeptFigures(settings.out / f"{part.name}.json")
    try:
        return Standing(part, part.items(settings), kept)
    except SalcompressError as fault:
        return Standing(part, [], kept, fault)


def plan(standings: Sequence[Standing], workers: int, named: bool = False) -> str:
    """A table of all parts: what is done, what is left, and what takes how long.

    Args:
        standings: The parts.
        workers: Processes that measure beside each other.
        named: Whether the parts were asked for by name, so that all of them count in the sum.
    """
    lines = []
    for standing in standings:
        part, left = standing.part, standing.left
        done = len(standing.items) - len(left)
        stale = f", {standing.num_stale} stale" if standing.num_stale else ""
        lines.append(
            [
                f"{part.name}{'' if part.by_default else ' (off unless named)'}: {part.what}",
                f"{done} of {len(standing.items)}{stale}",
                _clock(sum(standing.took)) if standing.took else "",
                "not here" if standing.fault else _clock(standing.left_s(workers)),
            ]
        )
    whole = sum(s.left_s(workers) for s in standings if named or s.part.by_default)
    total = "all of these" if named else "all but those off"
    lines.append([total, "", "", _clock(whole)])
    titles = ["part", "items done", "took, one process", f"left, {max(1, workers)} processes"]
    faults = [f"{s.part.name}: {s.fault}" for s in standings if s.fault is not None]
    return "\n".join([text_table(titles, lines), *faults])


def _clock(seconds: float) -> str:
    """
    >>> _clock(7), _clock(125)
    ('0:07', '2:05')
    """
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"
