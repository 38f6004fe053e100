"""The first sentence of a page: how many bits a codec saves at equal average precision."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.metrics.bd_rate import MIN_POINTS
from salcompress.metrics.equal_quality import EqualQuality, rate_at_equal_quality
from salcompress.reporting.chart_data import looks_of
from salcompress.reporting.curves import NO_RESAMPLES, curves_of, resampled_curve
from salcompress.reporting.palette import Look, mark

_OURS = "salient"
_FIGURE = "box_AP"


class Headline(NamedTuple):
    """Two curves at one AP, and the others there."""

    anchor: str
    """Name of the curve that is compared with."""
    test: str
    """Name of the curve that the sentence is about."""
    found: EqualQuality
    others: tuple[tuple[str, EqualQuality], ...]
    """Further curves that have this AP, the one of fewest bits first."""


def headline(rows: Sequence[RatePoint], resamples: Resamples = NO_RESAMPLES) -> Headline | None:
    """What the rows say in one sentence; None where no two curves can be compared.

    The anchor is the first curve with enough points. The sentence is about the learned codec of
    this package, where it was measured, by its curve that needs the fewest bits; else about the
    curve that needs the fewest. The AP is the highest of the anchor's that this curve has with an
    interval.
    """
    measured = {name: _measured(members) for name, members in curves_of(rows).items()}
    curves = {
        name: members
        for name, members in measured.items()
        if len({row.bpp for row in members}) >= MIN_POINTS
    }
    if len(curves) < 2:
        return None
    anchor = next(iter(curves))
    tests = [name for name in curves if name != anchor]
    wanted = [name for name in tests if curves[name][0].codec == _OURS] or tests
    points = sorted(range(len(curves[anchor])), key=lambda k: -curves[anchor][k].bpp)
    for point in points:
        found = _at(anchor, tests, point, curves, resamples)
        named = [name for name in found if name in wanted]
        if named:
            others = tuple((name, found[name]) for name in found if name != named[0])
            return Headline(anchor, named[0], found[named[0]], others)
    return None


def headline_html(
    rows: Sequence[RatePoint], resamples: Resamples, pixels_per_image: float | None
) -> str:
    """The headline as a section of the page; empty where there is none."""
    said = headline(rows, resamples)
    if said is None:
        return ""
    looks, found = looks_of(rows), said.found
    others = "".join(
        f"<li>{_name(name, looks)}<span>{_rate(other.bpp, pixels_per_image)}</span>"
        f"<b>{_signed(other.percent)} %</b><span class=soft>{_interval(other)}</span></li>"
        for name, other in said.others
    )
    more = "fewer" if found.percent <= 0 else "more"
    sure = ""
    if found.interval is not None:
        sure = f" The 95 % interval over the images is {_interval(found)}."
        if found.interval[0] < 0 < found.interval[1]:
            sure += " It holds 0: on these images the two cannot be told apart."
    return (
        "<section class=headline><p class=sentence>"
        f"At the AP of {_name(said.anchor, looks)} at {_rate(found.anchor_bpp, pixels_per_image)}, "
        f"{_name(said.test, looks)} needs {_rate(found.bpp, pixels_per_image)}: "
        f"<strong>{abs(found.percent):.0f} % {more} bits</strong>."
        f"</p><p class=sure>Box AP is {found.quality:.1f} there{_uncompressed(rows)}.{sure}</p>"
        + (f"<p>The others at this AP:</p><ul class=others>{others}</ul>" if others else "")
        + "</section>"
    )


def _at(
    anchor: str,
    tests: Sequence[str],
    point: int,
    curves: dict[str, list[RatePoint]],
    resamples: Resamples,
) -> dict[str, EqualQuality]:
    """What each curve needs for the AP of a point of the anchor, the fewest bits first."""
    of_anchor = resampled_curve(curves[anchor], _FIGURE, resamples)
    found = {}
    for name in tests:
        try:
            found[name] = rate_at_equal_quality(
                of_anchor, resampled_curve(curves[name], _FIGURE, resamples), point
            )
        except SettingError:  # this curve does not have the AP
            continue
    return dict(sorted(found.items(), key=lambda item: item[1].bpp))


def _measured(rows: Sequence[RatePoint]) -> list[RatePoint]:
    return [row for row in rows if row.figure(_FIGURE) is not None]


def _uncompressed(rows: Sequence[RatePoint]) -> str:
    level = next((row.figure(_FIGURE) for row in rows if row.codec == "none"), None)
    return "" if level is None else f", and {level:.1f} without compression"


def _name(name: str, looks: dict[str, Look]) -> str:
    return f"<span class=name>{mark(looks[name])}{html.escape(name)}</span>"


def _rate(bpp: float, pixels_per_image: float | None) -> str:
    size = ""
    if pixels_per_image is not None:
        kilobytes = bpp * pixels_per_image / 8000
        digits = 0 if kilobytes >= 10 else 1
        size = f" <span class=soft>({kilobytes:.{digits}f} kB an image)</span>"
    return f"{bpp:.2f} bpp{size}"


def _interval(found: EqualQuality) -> str:
    if found.interval is None:
        return ""
    low, high = found.interval
    return f"{_signed(low)} to {_signed(high)} %"


def _signed(percent: float) -> str:
    return f"{percent:+.0f}".replace("-", "−")
