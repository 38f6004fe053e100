"""The report's picture strips: an image as it was and at each rate, with what the detector found
drawn in.
"""

import base64
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as mask_util

from salcompress.errors import DataError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.records import ImageRecord, read_records
from salcompress.evaluation.run_folder import maps_path, picture_path, records_path
from salcompress.files import read_file
from salcompress.image import PLACE, encode_image, read_image

MIN_SCORE = 0.3
"""Detections below this score are not drawn."""
_MAP_WIDTH = 150  # pixels
# pixels that a picture has in the page; larger ones are scaled down before anything is drawn
_WIDTH = 440


class Picture(NamedTuple):
    """One tile of a strip."""

    title: str
    details: str
    data_uri: str
    """The picture, losslessly."""
    maps: tuple["Map", ...] = ()
    """Saliency, quality and bits, if the codec gives them."""


class Map(NamedTuple):
    """A small false-colour picture beside a tile."""

    title: str
    data_uri: str


class Strip(NamedTuple):
    """One image through all settings."""

    file_name: str
    pictures: tuple[Picture, ...]
    """The original with the annotated objects first."""


def load_strips(folder: Path, rows: Sequence[RatePoint]) -> list[Strip]:
    """Strips of the images whose pictures an evaluation kept; empty if it kept none.

    Raises:
        DataError: A file of the folder is damaged.
    """
    index_path = folder / "pictures" / "index.json"
    if not index_path.exists():
        return []
    try:
        index = json.loads(read_file(index_path))
        entries, names = index["images"], {int(k): v for k, v in index["categories"].items()}
    except (ValueError, KeyError) as error:
        raise DataError(f"{index_path} is damaged; delete it, or evaluate again") from error
    wanted = [entry["image_id"] for entry in entries]
    records = {
        row.fingerprint: read_records(records_path(folder, row.label, row.fingerprint), wanted)
        for row in rows
    }
    return [
        Strip(
            entry["file_name"],
            (
                _original(folder, entry, names),
                *(
                    tile
                    for row in rows
                    if (tile := _tile(folder, row, records[row.fingerprint], entry, names))
                ),
            ),
        )
        for entry in entries
        if picture_path(folder, entry["image_id"]).exists()
    ]


def _original(folder: Path, entry: dict[str, Any], names: dict[int, str]) -> Picture:
    """The image as it was, with its annotated objects."""
    image = read_image(picture_path(folder, entry["image_id"]))
    count = f"{len(entry['objects'])} annotated objects"
    return Picture("original", count, _draw(image, entry["objects"], names))


def _tile(
    folder: Path,
    row: RatePoint,
    records: Mapping[int | str, ImageRecord],
    entry: dict[str, Any],
    names: dict[int, str],
) -> Picture | None:
    """The image at one setting, with what was found; None where it was skipped or not kept."""
    record = records.get(entry["image_id"])
    path = picture_path(folder, entry["image_id"], row.label, row.fingerprint)
    if record is None or record.skipped or not path.exists():
        return None
    drawn = [d for d in record.detections or [] if d["score"] >= MIN_SCORE]
    quality = "exact" if record.psnr is None else f"{record.psnr:.1f} dB"
    bpp = (record.num_bits or 0) / (record.height * record.width)
    maps = maps_path(folder, entry["image_id"], row.label, row.fingerprint)
    return Picture(
        row.label,
        f"{bpp:.3f} bpp · {quality} · {len(drawn)} found",
        _draw(read_image(path), drawn, names),
        _load_maps(maps, record.height, record.width),
    )


def _load_maps(path: Path, height: int, width: int) -> tuple[Map, ...]:
    """The maps of a picture, brighter for more; none where its codec gives none."""
    if not path.exists():
        return ()
    try:
        with np.load(path) as file:
            saliency, quality, bits = (
                np.asarray(file[name], np.float32) for name in ("saliency", "quality", "bits")
            )
        if (
            not saliency.shape == quality.shape == bits.shape
            or saliency.ndim != 2
            or saliency.shape[0] * PLACE < height
        ):
            raise ValueError("shapes do not fit")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged; delete it, or evaluate again") from error
    bpp = bits / PLACE**2
    most = max(float(bpp[: -(-height // PLACE), : -(-width // PLACE)].max()), 1e-6)
    low, high = float(quality.min()), float(quality.max())
    shown = (
        ("saliency, 0 to 1", saliency),
        (f"quality, {low:.2f} to {high:.2f}", (quality - low) / max(high - low, 1e-6)),
        (f"bits, 0 to {most:.2f} bpp", bpp / most),
    )
    return tuple(Map(title, _false_colour(values, height, width)) for title, values in shown)


def _false_colour(places: np.ndarray, height: int, width: int) -> str:
    """Data URI of values in [0, 1] at 16x16 places, the padding cut off."""
    wide = np.kron(places.clip(0, 1), np.ones((PLACE, PLACE), np.float32))[:height, :width]
    scale = _MAP_WIDTH / width
    small = cv2.resize(
        wide,
        (_MAP_WIDTH, max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST,
    )
    coloured = cv2.cvtColor(
        cv2.applyColorMap(np.rint(small * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS),
        cv2.COLOR_BGR2RGB,
    )
    return _data_uri(coloured)


def _data_uri(image: np.ndarray) -> str:
    return (
        "data:image/webp;base64,"
        + base64.b64encode(
            encode_image(image, "WEBP", lossless=True, quality=40, method=2)
        ).decode()
    )


def _draw(image: np.ndarray, objects: Sequence[dict[str, Any]], names: dict[int, str]) -> str:
    """Data URI of the picture with boxes, names and, where there are any, masks."""
    scale = min(1.0, _WIDTH / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()
    ordered = sorted(objects, key=lambda o: -o["bbox"][2] * o["bbox"][3])  # small ones on top
    for found in ordered:
        if "score" in found and isinstance(found.get("segmentation"), dict):
            mask = (
                cv2.resize(
                    mask_util.decode(found["segmentation"]), size, interpolation=cv2.INTER_NEAREST
                )
                > 0
            )
            canvas[mask] = (
                0.6 * canvas[mask] + 0.4 * np.array(_colour(found["category_id"]))
            ).astype(np.uint8)
    for found in ordered:
        colour = _colour(found["category_id"])
        x0, y0 = (int(v * scale) for v in found["bbox"][:2])
        x1, y1 = (int((found["bbox"][k] + found["bbox"][k + 2]) * scale) for k in (0, 1))
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 1, cv2.LINE_AA)
        label = names.get(found["category_id"], str(found["category_id"]))
        if "score" in found:
            label += f" {found['score']:.2f}"
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
        left, top = max(0, min(x0, size[0] - width - 4)), max(0, y0 - height - 5)
        cv2.rectangle(canvas, (left, top), (left + width + 4, top + height + 5), colour, -1)
        cv2.putText(
            canvas,
            label,
            (left + 2, top + height + 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.36,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    return _data_uri(canvas)


def _colour(category_id: int) -> tuple[int, int, int]:
    """A strong colour, the same for a category wherever it appears."""
    hue = zlib.crc32(str(category_id).encode()) % 180
    red, green, blue = cv2.cvtColor(np.array([[[hue, 210, 180]]], np.uint8), cv2.COLOR_HSV2RGB)[
        0, 0
    ].tolist()
    return red, green, blue
