"""The charts of the page: a figure over rate, a line a codec."""

from collections.abc import Sequence

import plotly.graph_objects as go

from salcompress.evaluation.rate_point import RatePoint
from salcompress.reporting.curves import Figure, curves_of, measured_rates

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_GREY = "#64748b"
_LAYOUT = {
    "template": "plotly_white",
    "height": 400,
    "margin": {"l": 60, "r": 20, "t": 50, "b": 80},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "xaxis": {
        "title": "bits per pixel, pooled",
        "type": "log",
        "dtick": "D2",
        "tickformat": "~g",
        "minorloglabels": "none",
    },
    "legend": {"orientation": "h", "y": -0.24},
    "hovermode": "closest",
}


def chart(rows: Sequence[RatePoint], figure: Figure) -> str:
    """HTML of a figure over rate, one line a codec with its 95 % band; the uncompressed level is a
    dashed line. Its ``layout.meta`` holds the axis over each of the rates that a reader may choose.
    """
    plot, rates = go.Figure(), measured_rates(rows)
    places: dict[str, list[list[float]]] = {rate.name: [] for rate in rates}
    for k, (curve, members) in enumerate(curves_of(rows).items()):
        measured = [r for r in members if r.figure(figure.name) is not None]
        if measured:
            points = sorted(measured, key=lambda r: r.bpp)
            _add_curve(plot, curve, points, figure, _COLOURS[k % len(_COLOURS)])
            for rate in rates:
                values = [getattr(r, rate.name) for r in points]
                places[rate.name] += [values + values[::-1], values]  # of the band and the line
    plain = next((r for r in rows if r.codec == "none" and r.figure(figure.name) is not None), None)
    if plain is not None and figure.name.endswith("_AP"):
        level = plain.figure(figure.name)
        plot.add_hline(
            y=level,
            line={"dash": "dash", "color": _GREY, "width": 1.5},
            annotation={
                "text": f"uncompressed {level:.{figure.digits}f}",
                "font": {"color": _GREY, "size": 12},
            },
            annotation_position="top left",
        )
    title = {"text": f"<b>{figure.title}</b>", "font": {"size": 16}, "x": 0.02}
    meta = {rate.name: {"title": rate.title, "x": places[rate.name]} for rate in rates}
    plot.update_layout(title=title, meta=meta, **_LAYOUT)
    config = {"displaylogo": False, "displayModeBar": "hover", "responsive": True}
    drawn = plot.to_html(full_html=False, include_plotlyjs=False, config=config)
    return f"<div class=card>{drawn}</div>"


def _add_curve(
    plot: go.Figure, curve: str, points: Sequence[RatePoint], figure: Figure, colour: str
) -> None:
    """A band of 95 % intervals, and the line over it."""
    values = [r.figure(figure.name) for r in points]
    ends = [r.ci95.get(figure.name) or (v, v) for r, v in zip(points, values)]
    rates = [r.bpp for r in points]
    plot.add_scatter(
        x=rates + rates[::-1],
        y=[high for _, high in ends] + [low for low, _ in ends[::-1]],
        mode="lines",
        fill="toself",
        fillcolor=_transparent(colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=curve,
    )
    decimals = f":.{figure.digits}f"
    plot.add_scatter(
        x=rates,
        y=values,
        mode="lines+markers",
        name=curve,
        legendgroup=curve,
        line={"color": colour, "width": 2.5},
        marker={"size": 7},
        customdata=[(r.label, low, high) for r, (low, high) in zip(points, ends)],
        hovertemplate=f"%{{customdata[0]}}<br>%{{x:.3f}} bpp<br>%{{y{decimals}}} "
        f"[%{{customdata[1]{decimals}}}, %{{customdata[2]{decimals}}}]<extra></extra>",
    )


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.13)"
