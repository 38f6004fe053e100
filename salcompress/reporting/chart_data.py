"""The curves and the settings of a page as its scripts read them."""

from collections.abc import Sequence
from typing import Any

from salcompress.evaluation.rate_point import RatePoint
from salcompress.reporting.curves import curves_of, measured_figures, varying_options
from salcompress.reporting.palette import Look, look


def looks_of(rows: Sequence[RatePoint]) -> dict[str, Look]:
    """How each curve is drawn, by its name. Curves of one codec differ in their dash."""
    count: dict[str, int] = {}
    looks = {}
    for name, members in curves_of(rows).items():
        codec = members[0].codec
        looks[name] = look(codec, count.get(codec, 0))
        count[codec] = count.get(codec, 0) + 1
    return looks


def setting_title(row: RatePoint, rows: Sequence[RatePoint]) -> str:
    """A setting in few words: ``jpeg q=30``; the row of the uncompressed pictures is called so."""
    if row.codec == "none":
        return "uncompressed"
    return f"{row.codec} {varying_options(row, rows)}".strip()


def chart_data(rows: Sequence[RatePoint], pixels_per_image: float | None) -> dict[str, Any]:
    """All that the charts show; it can be json.

    Args:
        rows: Of one data set and detector.
        pixels_per_image: Mean over the images, for rates in kB; None where it is not known.
    """
    figures, looks = measured_figures(rows), looks_of(rows)
    plain = next((row for row in rows if row.codec == "none"), None)
    return {
        "pixelsPerImage": pixels_per_image,
        "settings": [{"title": setting_title(row, rows), "codec": row.codec} for row in rows],
        "figures": [figure._asdict() for figure in figures],
        "curves": [
            {
                "name": name,
                **looks[name]._asdict(),
                "points": [
                    {
                        "title": setting_title(row, rows),
                        "bpp": row.bpp,
                        "bppDetector": row.bpp_detector,
                        "figures": {f.name: _value(row, f.name) for f in figures},
                    }
                    for row in sorted(members, key=lambda row: row.bpp)
                ],
            }
            for name, members in curves_of(rows).items()
        ],
        "levels": {
            figure.name: plain.figure(figure.name)
            for figure in figures
            if plain is not None and figure.name.endswith("_AP")
        },
    }


def _value(row: RatePoint, name: str) -> list[float] | None:
    """A figure with the ends of its interval."""
    value = row.figure(name)
    if value is None:
        return None
    return [value, *(row.ci95.get(name) or (value, value))]
