"""One self-contained page: a sentence, curves, tables and pictures. No network is needed to read
it.
"""

import datetime
import html
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from salcompress.data.coco import SYNTHETIC_NAME
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.reporting.chart_data import chart_data, looks_of
from salcompress.reporting.curves import NO_RESAMPLES, curves_of, measured_figures
from salcompress.reporting.differences import differences_html
from salcompress.reporting.foot import Provenance, foot_html
from salcompress.reporting.headline import headline_html
from salcompress.reporting.losses import SettingLosses, losses_data, reference_of
from salcompress.reporting.page_files import assemble, place_for_script
from salcompress.reporting.palette import mark
from salcompress.reporting.settings import settings_html
from salcompress.reporting.viewer import Viewer

_NOTHING: Mapping[str, str] = MappingProxyType({})


def render(
    rows: Sequence[RatePoint],
    *,
    skipped: Mapping[str, str] = _NOTHING,
    resamples: Resamples = NO_RESAMPLES,
    viewer: Viewer | None = None,
    losses: Mapping[str, SettingLosses] | None = None,
    pixels_per_image: float | None = None,
    provenance: Provenance | None = None,
) -> str:
    """The page as text. Where the images are drawn, not photographs, it says so.

    Args:
        rows: All of one data set and detector.
        skipped: Reason by file name of the images left out.
        resamples: Figures on resampled images, for intervals of differences; see
            :func:`salcompress.evaluation.resamples.read_resamples`.
        viewer: Pictures to show.
        losses: What each setting loses, by the fingerprint of its row.
        pixels_per_image: Mean over the images, for rates in kB.
        provenance: For the foot; made today by no command if None.

    Raises:
        SettingError: ``rows`` is empty or mixes data sets or detectors.
    """
    if not rows:
        raise SettingError("a report needs at least one result row")
    if len({(row.dataset, row.detector) for row in rows}) > 1:
        raise SettingError("a report shows one data set and one detector; the rows hold several")
    data = {
        **chart_data(rows, pixels_per_image),
        "viewer": None if viewer is None else viewer.content,
        "losses": None if losses is None else losses_data(rows, losses, viewer),
    }
    parts = [
        *_notices(rows),
        headline_html(rows, resamples, pixels_per_image),
        _charts(rows, pixels_per_image),
        differences_html(rows, resamples),
        "" if viewer is None else place_for_script("viewer"),
        "" if losses is None else _losses(rows),
        settings_html(rows),
        _left_out(skipped) if skipped else "",
    ]
    foot = foot_html(rows, provenance or Provenance(datetime.date.today()))
    return assemble(_head(rows), "\n".join(parts), foot, data)


def _head(rows: Sequence[RatePoint]) -> str:
    """The title's second line: what was measured on what."""
    first, counts = rows[0], sorted({row.num_images for row in rows})
    images = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"<b>{html.escape(first.detector)}</b> on <b>{html.escape(first.dataset)}</b>, "
        f"{images} images, {len(rows)} settings"
    )


def _notices(rows: Sequence[RatePoint]) -> list[str]:
    """What a reader must know before the figures."""
    parts = []
    if rows[0].dataset.startswith(SYNTHETIC_NAME):
        parts.append(
            "<p class=notice><b>Synthetic scenes.</b> The images are drawn by a program and the "
            "detector was trained on such drawings. The figures show that the tool works; they say "
            "nothing about photographs.</p>"
        )
    if len({row.num_images for row in rows}) > 1:
        parts.append(
            "<p class=notice>The settings were measured on different numbers of images (see the "
            "table), so rows are not strictly comparable. Evaluate all of them again to have them "
            "on the same images.</p>"
        )
    return parts


def _charts(rows: Sequence[RatePoint], pixels_per_image: float | None) -> str:
    """Places for the charts, with one legend for all of them."""
    looks, figures = looks_of(rows), measured_figures(rows)
    if not curves_of(rows) or not figures:
        return ""
    legend = "".join(
        f"<button type=button aria-pressed=true data-curve='{k}'>{mark(drawn)}"
        f"{html.escape(name)}</button>"
        for k, (name, drawn) in enumerate(looks.items())
    )
    cards = "".join(
        f"<figure class=card><figcaption><h3>{html.escape(figure.title)}</h3>"
        f"<button type=button class=quiet data-save='{figure.name}'>save as SVG</button>"
        f"</figcaption><div class=plot id='plot-{figure.name}' role=img "
        f"aria-label='{html.escape(figure.title, quote=True)} over rate'></div></figure>"
        for figure in figures
    )
    return (
        "<section class=charts id=charts aria-label=Charts><div class=bar>"
        f"<div class=legend role=group aria-label='Curves, in all charts'>{legend}</div>"
        f"<div class=options>{_units(rows, pixels_per_image)}"
        "<label class=switch><input type=checkbox id=bands checked>95 % intervals</label>"
        "</div></div>"
        f"<div class=cards>{cards}</div></section>"
    )


def _units(rows: Sequence[RatePoint], pixels_per_image: float | None) -> str:
    """A choice of the unit of rates, of those that all curves have; nothing if it is bpp alone."""
    units = {"bpp": "bits per pixel"}
    if pixels_per_image is not None:
        units["kB"] = "kB per image"
    if all(row.bpp_detector is not None for row in rows if row.codec != "none"):
        units["bppDetector"] = "bits per pixel that the detector saw"
    if len(units) == 1:
        return ""
    labels = "".join(
        f"<label><input type=radio name=unit value={name}{' checked' * (name == 'bpp')}>"
        f"{title}</label>"
        for name, title in units.items()
    )
    return f"<fieldset class=choice><legend>Rate in</legend>{labels}</fieldset>"


def _losses(rows: Sequence[RatePoint]) -> str:
    """A place for the list of pictures on which a setting loses most."""
    counted = (
        "Annotated objects that the detector finds in the uncompressed picture and not in the "
        "decoded one"
        if reference_of(rows) is not None
        else "Annotated objects that the detector does not find in the decoded picture"
    )
    return (
        f"<section id=losses><h2>Where detections are lost</h2><p>{counted}, the worst pictures "
        "first. Of those that lose as many, the one with fewer objects is the worse.</p>"
        + place_for_script("losses")
    )


def _left_out(skipped: Mapping[str, str]) -> str:
    items = "".join(
        f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>"
        for name, why in skipped.items()
    )
    return (
        f"<section><h2>Left out</h2><p>{len(skipped)} image{'s' * (len(skipped) > 1)} could not be "
        f"used.</p><ul>{items}</ul></section>"
    )
