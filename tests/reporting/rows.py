"""Rows to make pages of."""

from salcompress.evaluation.rate_point import RatePoint


def row(codec, q, bpp, ap, psnr=30.0, **changes):
    """A row of 60 images."""
    box = {"AP": ap, "AP50": ap + 5, "AP75": ap, "APs": None, "APm": ap, "APl": ap}
    return RatePoint(
        codec,
        f"q={q},subsampling=420",
        f"{codec}{q}",
        "set<1>",
        "det",
        60,
        bpp,
        bpp,
        None,
        box,
        None,
        psnr,
        0.9,
        None,
        0.1,
        0.1,
        None,
        None,
        {"box_AP": [ap - 1, ap + 1]},
    )._replace(**changes)


def resampled(rows):
    """The same luck of the draw for every row: half an AP up and down, and rates as they are."""
    return {
        r.fingerprint: {
            "bpp": [r.bpp] * 40,
            "box_AP": [r.box["AP"] + 0.5 * (-1) ** k for k in range(40)],
        }
        for r in rows
    }
