"""The table of BD-rates: each codec against the first, at equal quality."""

import html
from collections.abc import Sequence

from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.metrics.bd_rate import MIN_POINTS
from salcompress.reporting.chart_data import looks_of
from salcompress.reporting.curves import Figure, curves_of, measured_figures, rate_difference
from salcompress.reporting.palette import mark
from salcompress.reporting.tables import Cell, html_table

_DIGITS = {"box_AP": 1, "mask_AP": 1, "psnr": 1}


def differences_html(rows: Sequence[RatePoint], resamples: Resamples) -> str:
    """Rate of each codec against the first one that has enough points, as a section of the page."""
    by_curve, looks = curves_of(rows), looks_of(rows)
    enough = [name for name, points in by_curve.items() if len(points) >= MIN_POINTS]
    heading = "<section id=differences><h2>Rate difference at equal quality</h2>"
    if len(enough) < 2:
        return (
            f"{heading}<p>A BD-rate needs two codecs with at least {MIN_POINTS} settings each; "
            f"this run has {len(enough)}.</p></section>"
        )
    anchor, figures = enough[0], measured_figures(rows)
    lines = [
        [
            Cell(f"{mark(looks[name])}<b>{html.escape(name)}</b>"),
            *(_difference(by_curve[anchor], by_curve[name], f, resamples) for f in figures),
        ]
        for name in enough[1:]
    ]
    return (
        f"{heading}<p>BD-rate against {mark(looks[anchor])}<b>{html.escape(anchor)}</b>: bits, "
        "averaged over the qualities that both codecs reach. Negative means fewer bits. Below it "
        "are its 95 % interval over the images, and those qualities in brackets.</p>"
        + html_table(["codec", *(figure.title for figure in figures)], lines)
        + "</section>"
    )


def _difference(
    anchor: Sequence[RatePoint], test: Sequence[RatePoint], figure: Figure, resamples: Resamples
) -> Cell:
    try:
        found = rate_difference(anchor, test, figure.name, resamples)
    except SettingError as error:
        few = "usable points" in str(error)
        short = f"under {MIN_POINTS} points" if few else "no common quality"
        why = html.escape(str(error), quote=True)
        return Cell(f"<span class=missing title='{why}'>{short}</span>")
    digits = _DIGITS.get(figure.name, 3)
    interval = ""
    if found.interval is not None:
        low, high = found.interval
        interval = f"{_signed(low)} to {_signed(high)} "
    # where the interval holds 0, the images do not tell which is better
    sure = found.interval is None or found.interval[0] * found.interval[1] > 0
    kind = "unsure" if not sure else "better" if found.percent < 0 else "worse"
    return Cell(
        f"<span class={kind}>{_signed(found.percent)} %</span>"
        f"<small>{interval}[{found.low:.{digits}f}, {found.high:.{digits}f}]</small>"
    )


def _signed(percent: float) -> str:
    return f"{percent:+.1f}".replace("-", "−")
