"""Tables of average precision by rate, and of rates at equal precision."""

import re
from collections.abc import Callable, Sequence

from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.resamples import Resamples
from salcompress.metrics.bd_rate import BdRate
from salcompress.reporting.curves import curves_of, rate_difference, varying_options
from salcompress.reporting.tables import markdown_table, number

_UNSTEERED = "salient saliency=uniform"
"""The curve of the learned codec with the weights "photo" and no saliency."""


def rows_table(rows: Sequence[RatePoint]) -> str:
    """All rows of a detector, with the figures that were measured."""
    columns: dict[str, Callable[[RatePoint], str]] = {
        "codec": lambda r: _label(r, rows),
        "bpp": lambda r: number(r.bpp, 3),
        "box AP, 95 % interval": lambda r: _with_interval(r, "box_AP"),
    }
    if any(row.mask is not None for row in rows):
        columns["mask AP, 95 % interval"] = lambda r: _with_interval(r, "mask_AP")
    if any(row.perceptual is not None for row in rows):
        columns["PSNR dB"] = lambda r: number(r.psnr, 2, "")
        columns["MS-SSIM"] = lambda r: number(None if r.codec == "none" else r.ms_ssim, 4, "")
        columns["perceptual"] = lambda r: number(None if r.codec == "none" else r.perceptual, 3, "")
    area = next((row.object_area for row in rows if row.object_area is not None), None)
    if area is not None:
        columns[f"bits on objects ({100 * area:.0f} % of area)"] = lambda r: (
            "" if r.object_bits is None else f"{100 * r.object_bits:.0f} %"
        )
    lines = [[cell(row) for cell in columns.values()] for row in rows]
    return markdown_table(list(columns), lines)


def _label(row: RatePoint, rows: Sequence[RatePoint]) -> str:
    if row.codec == "none":
        return "none (source files)"
    quality = row.setting.split(",")[0]
    if "saliency=boxes" in row.setting:
        return f"{row.codec}:{quality}, steered by the annotated boxes"
    if row.codec == "salient":
        setting = row.setting.replace(",saliency=network,saliency_strength=24", "")
        return f"{row.codec}:" + re.sub(r"^q=([01])\.0(?=,|$)", r"q=\1", setting)
    return f"{row.codec}:{varying_options(row, rows)}"


def _curves(rows: Sequence[RatePoint]) -> dict[str, list[RatePoint]]:
    """Rows by the name of their curve, as tables call it."""
    return {
        re.sub(r"(saliency=boxes)\S*|,saliency_strength=24", r"\1", name): points
        for name, points in curves_of(rows).items()
    }


def differences_table(rows: Sequence[RatePoint], resamples: Resamples) -> str:
    """Rate differences at equal AP against JPEG, AVIF, and the learned codec without saliency."""
    curves = _curves(rows)
    anchors = [name for name in ("jpeg", "avif", _UNSTEERED) if name in curves]
    figures = ["box_AP"] + ["mask_AP"] * any(row.mask is not None for row in rows)
    lines = [
        [name]
        + [
            _percent(curves[anchor], points, figure, resamples)
            for figure in figures
            for anchor in anchors
        ]
        for name, points in curves.items()
    ]
    heads = [
        f"{figure.replace('_', ' ')}: against {anchor}" for figure in figures for anchor in anchors
    ]
    return markdown_table(["codec", *heads], lines)


def bits_table(rows: Sequence[RatePoint], resamples: Resamples) -> str:
    """Bits of each codec at equal box AP, with those of JPEG or of AVIF as 100 %."""
    curves = _curves(rows)
    lines = [
        [name, *(_bits(curves[anchor], points, resamples) for anchor in ("jpeg", "avif"))]
        for name, points in curves.items()
        if "saliency=boxes" not in name  # no codec that a reader can name
    ]
    return markdown_table(["codec", "bits, JPEG = 100 %", "bits, AVIF = 100 %"], lines)


def _bits(anchor: Sequence[RatePoint], test: Sequence[RatePoint], resamples: Resamples) -> str:
    if anchor is test:
        return "100 %"
    found = _difference(anchor, test, "box_AP", resamples)
    if found is None:
        return "no AP in common"
    bits = f"{100 + found.percent:.0f} %"
    if found.interval is None:
        return bits
    low, high = found.interval
    return f"{bits} [{100 + low:.0f}, {100 + high:.0f}]"


def _percent(
    anchor: Sequence[RatePoint], test: Sequence[RatePoint], figure: str, resamples: Resamples
) -> str:
    found = _difference(anchor, test, figure, resamples)
    if found is None:
        return "none: no AP in common"
    if found.interval is None:
        return f"{found.percent:+.1f} %"
    return f"{found.percent:+.1f} % [{found.interval[0]:+.1f}, {found.interval[1]:+.1f}]"


def _difference(
    anchor: Sequence[RatePoint], test: Sequence[RatePoint], figure: str, resamples: Resamples
) -> BdRate | None:
    try:
        return rate_difference(anchor, test, figure, resamples)
    except SettingError:
        return None


def _with_interval(row: RatePoint, name: str) -> str:
    value, interval = row.figure(name), row.ci95.get(name)
    if value is None or interval is None:
        return number(value, 1)
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"
