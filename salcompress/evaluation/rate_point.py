"""One measured setting of one codec: the row of every result file and table."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from salcompress.errors import DataError
from salcompress.files import read_file


class RatePoint(NamedTuple):
    """Rate, distortion and task performance of one codec setting on one data set.

    A figure that was not measured is None (null in json), never 0.
    """

    codec: str
    setting: str
    """Options that change the rate, ``q=30,subsampling=420``; empty for a codec without any."""
    fingerprint: str
    """Codec, setting and version of what codes."""
    dataset: str
    detector: str
    num_images: int
    bpp: float
    """Pooled rate: bits of all whole files over pixels of all original images."""
    bpp_mean: float
    """Mean over the images of their bits per pixel."""
    bpp_detector: float | None
    """The bits of ``bpp`` over the pixels that the detector saw after its own resize, padding not
    counted: what papers report that divide so. None where the detector does not say its size."""
    box: dict[str, float | None] | None
    """AP, AP50, AP75, APs, APm, APl of boxes, times 100."""
    mask: dict[str, float | None] | None
    """The same of masks; None where the detector gives none."""
    psnr: float | None
    """dB over RGB, mean over the images; those reproduced exactly have none and are left out."""
    ms_ssim: float | None
    """Mean over the images whose sides are at least 161 pixels."""
    perceptual: float | None
    """Distance by the learned perceptual metric, mean over the images: 0 for exact copies, about 1
    for JPEG at q=3.
    """
    encode_s: float | None
    """Mean seconds an image; None where streams came from a cache."""
    decode_s: float | None
    """Mean seconds an image."""
    object_bits: float | None
    """Share of the bits on annotated objects, in [0, 1], of those that have a place in the image;
    the rest is on the background. Objects are the union of masks, or of boxes where there are no
    masks. None for codecs that know no places."""
    object_area: float | None
    """Share of the pixels on annotated objects, in [0, 1]; None where ``object_bits`` is."""
    ci95: dict[str, list[float]]
    """95 % bootstrap intervals over images, [low, high]: bpp, bpp_mean, bpp_detector, psnr,
    ms_ssim, perceptual, box_AP, mask_AP, where measured.
    """

    @property
    def label(self) -> str:
        """``jpeg:q=30,subsampling=420``."""
        return f"{self.codec}:{self.setting}" if self.setting else self.codec

    def figure(self, name: str) -> float | None:
        """A figure by its name in ``ci95``: ``box_AP``, ``mask_AP``, ``psnr``, ...

        >>> row = RatePoint._make([None] * 19)._replace(psnr=30.5, box={"AP": 41.5})
        >>> row.figure("psnr"), row.figure("box_AP"), row.figure("mask_AP")
        (30.5, 41.5, None)
        """
        if name.endswith("_AP"):
            part = getattr(self, name.removesuffix("_AP"))
            return None if part is None else part["AP"]
        return getattr(self, name)


def to_jsonl(rows: Iterable[RatePoint]) -> str:
    """One json object a line."""
    return "".join(json.dumps(row._asdict(), allow_nan=False) + "\n" for row in rows)


_LATER_FIELDS = {
    "bpp_detector": None,
    "object_bits": None,
    "object_area": None,
}  # which rows of older versions lack: not measured


def read_jsonl(path: Path | str) -> list[RatePoint]:
    """Rows of a ``results.jsonl``.

    Raises:
        DataError: The file is missing or a line is no RatePoint.
    """
    rows = []
    for number, line in enumerate(read_file(path).decode(errors="replace").splitlines(), 1):
        try:
            rows.append(RatePoint(**(_LATER_FIELDS | json.loads(line))))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: not a result row ({error}); delete the file and "
                "evaluate again"
            ) from error
    return rows


def to_csv(rows: Sequence[RatePoint]) -> str:
    """A summary with one column a figure, and the interval's ends beside it; empty cells were not
    measured.
    """
    buffer = io.StringIO()
    table = [_flatten(row) for row in rows]
    columns = list(dict.fromkeys(key for line in table for key in line))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def _flatten(row: RatePoint) -> dict[str, Any]:
    flat = {}
    for key, value in row._asdict().items():
        if key in ("box", "mask"):
            flat.update({f"{key}_{name}": figure for name, figure in (value or {}).items()})
        elif key == "ci95":
            for name, (low, high) in value.items():
                flat[f"{name}_low"], flat[f"{name}_high"] = low, high
        else:
            flat[key] = value
    return flat
