"""The colour and the marker of each codec: the same in every plot and on every page."""

import zlib
from typing import NamedTuple


class Look(NamedTuple):
    """How a curve is drawn."""

    light: str
    """Colour on white, ``#rrggbb``."""
    dark: str
    """Colour on black."""
    marker: str
    """Name of the marker, as Plotly has it; filled."""
    dash: str
    """Dash of the line, as Plotly has it."""


_CODECS = {
    "salient": ("#dc2626", "#f87171", "circle"),
    "jpeg": ("#2563eb", "#60a5fa", "square"),
    "jpegli": ("#0369a1", "#38bdf8", "hexagon2"),
    "jpeg2000": ("#b45309", "#fbbf24", "diamond"),
    "webp": ("#047857", "#34d399", "triangle-up"),
    "avif": ("#7c3aed", "#a78bfa", "triangle-down"),
    "png": ("#475569", "#94a3b8", "cross"),
    "compressai": ("#be185d", "#f472b6", "hexagon"),
    "vvc": ("#0e7490", "#22d3ee", "star"),
    "hevc": ("#4d7c0f", "#a3e635", "pentagon"),
    "jxl": ("#a21caf", "#e879f9", "x"),
}
_DASHES = ("solid", "dash", "dot", "dashdot")
# outlines within a box from -1 to 1
_OUTLINES = {
    "square": "-.8,-.8 .8,-.8 .8,.8 -.8,.8",
    "diamond": "0,-1 1,0 0,1 -1,0",
    "triangle-up": "0,-1 1,.8 -1,.8",
    "triangle-down": "0,1 1,-.8 -1,-.8",
    "cross": "-.35,-1 .35,-1 .35,-.35 1,-.35 1,.35 .35,.35 .35,1 -.35,1 -.35,.35 -1,.35 -1,-.35 "
    "-.35,-.35",
    "hexagon": "-.5,-.9 .5,-.9 1,0 .5,.9 -.5,.9 -1,0",
    "hexagon2": "-.9,-.5 0,-1 .9,-.5 .9,.5 0,1 -.9,.5",
    "star": "0,-1 .25,-.3 1,-.3 .4,.15 .6,.9 0,.45 -.6,.9 -.4,.15 -1,-.3 -.25,-.3",
    "pentagon": "0,-1 1,-.25 .6,.9 -.6,.9 -1,-.25",
    "x": "-.9,-.5 -.5,-.9 0,-.4 .5,-.9 .9,-.5 .4,0 .9,.5 .5,.9 0,.4 -.5,.9 -.9,.5 -.4,0",
}


def look(codec: str, curve: int = 0) -> Look:
    """How a codec is drawn; one that is not known here gets a look by its name.

    Args:
        codec: Its name.
        curve: Which of the codec's curves it is; they differ in the dash of the line.

    >>> look("jpeg") == look("jpeg", 1)._replace(dash="solid")
    True
    """
    known = _CODECS.get(codec)
    if known is None:
        looks = list(_CODECS.values())
        known = looks[zlib.crc32(codec.encode("utf-8", "backslashreplace")) % len(looks)]
    return Look(*known, _DASHES[curve % len(_DASHES)])


def mark(drawn: Look) -> str:
    """HTML of a short piece of the curve with its marker, as a legend shows it."""
    dashes = {"dash": "5 2", "dot": "1.5 2", "dashdot": "5 2 1.5 2"}.get(drawn.dash)
    dash = f" stroke-dasharray='{dashes}'" if dashes else ""
    shape = (
        f"<polygon points='{_OUTLINES[drawn.marker]}'/>"
        if drawn.marker in _OUTLINES
        else "<circle r='.9'/>"
    )
    return (
        f"<svg class=mark style='--on-light:{drawn.light};--on-dark:{drawn.dark}' "
        "viewBox='0 0 24 12' aria-hidden=true>"
        f"<path d='M0 6H24' stroke=currentColor stroke-width=2{dash} />"
        f"<g transform='translate(12 6) scale(4.4)' fill=currentColor>{shape}</g></svg>"
    )
