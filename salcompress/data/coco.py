"""A COCO-format data set on disk, and the only place that knows COCO's category ids."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools.coco import COCO

from salcompress.errors import DataError, SettingError
from salcompress.files import digest, read_file
from salcompress.image import read_size

COCO_CATEGORY_IDS = tuple(
    i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
)
"""Ids of COCO's 80 categories, in the order in which detectors number their classes."""


SYNTHETIC_NAME = "synthetic scenes"
"""Description in the ``info`` of data sets that this package draws itself, and their name in
results.
"""


SKIP_CURE = "repair the file, or leave it out with --skip-bad (skip_bad=True)"
"""What to do about a bad image."""


class CocoImage(NamedTuple):
    """One image of a data set."""

    image_id: int
    file_name: str
    """As in the annotations; it may name subfolders."""
    path: Path
    height: int
    width: int


class CocoDataset(NamedTuple):
    """Images that were found whole, what was left out, and the annotations of all."""

    name: str
    images: tuple[CocoImage, ...]
    skipped: dict[str, str]
    """Reason by file name, of images left out because ``skip_bad`` was asked for."""
    coco: COCO
    fingerprint: str
    """Of the annotations and the ids of the images asked for; not of the images' content, which
    records check.
    """


def category_ids(num_classes: int) -> Sequence[int]:
    """COCO category id of each class that a detector numbers from 0.

    Args:
        num_classes: 80: COCO's own, contiguous. 90: class k is category k + 1 with the gaps kept,
            as torchvision numbers them. Any other number: a data set of its own, whose categories
            are 1 .. num_classes.
    """
    return COCO_CATEGORY_IDS if num_classes == len(COCO_CATEGORY_IDS) else range(1, num_classes + 1)


def load_dataset(
    images: Path | str, annotations: Path | str, limit: int | None = None, skip_bad: bool = False
) -> CocoDataset:
    """Open a data set and check that each image is there and has the annotated size.

    Only headers are read here; damage further in a file shows when it is decoded.

    Args:
        images: Folder of the image files.
        annotations: COCO instances json.
        limit: Take only the first so many images, in the order of the json.
        skip_bad: List images that fail the check in ``skipped`` instead of raising.

    Raises:
        SettingError: The folder or the json is missing, ``limit`` is not positive, or no image is
            left.
        DataError: The json is damaged or is no COCO instances file, or an image is missing or of
            another size.
    """
    images, annotations = Path(images), Path(annotations)
    if not images.is_dir():
        raise SettingError(f"images folder {images} does not exist")
    if not annotations.is_file():
        raise SettingError(f"annotations file {annotations} does not exist")
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1, got {limit}")
    coco, text = load_annotations(annotations)
    found, skipped = [], {}
    entries = coco.dataset["images"][:limit]
    for entry in entries:
        path = images / entry["file_name"]
        try:
            _check_size(path, entry, annotations)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error}; {SKIP_CURE}") from error
            skipped[entry["file_name"]] = str(error)
            continue
        found.append(
            CocoImage(entry["id"], entry["file_name"], path, entry["height"], entry["width"])
        )
    if not found:
        raise SettingError(f"{annotations} and {images} have no usable image in common")
    fingerprint = digest(text, json.dumps([entry["id"] for entry in entries]))
    return CocoDataset(dataset_name(annotations, coco), tuple(found), skipped, coco, fingerprint)


def load_annotations(annotations: Path | str) -> tuple[COCO, bytes]:
    """Annotations as pycocotools holds them, and the bytes of the file.

    What COCO's own files always have and others may leave out is filled in: an ``area`` is that of
    the box, ``iscrowd`` 0.

    Raises:
        DataError: The file is missing, no json, or no COCO instances file.
    """
    text = read_file(annotations)
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise DataError(f"{annotations}: not a json file: {error}") from error
    required = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for part, keys in required.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{annotations}: not a COCO instances file: it has no list {part!r}")
        for entry in entries:
            missing = [k for k in keys if k not in entry] if isinstance(entry, dict) else list(keys)
            if missing:
                raise DataError(
                    f"{annotations}: an entry of {part!r} lacks {', '.join(missing)}: "
                    f"{str(entry)[:80]}"
                )
    for annotation in content["annotations"]:
        if not isinstance(annotation["bbox"], list) or len(annotation["bbox"]) != 4:
            raise DataError(
                f"{annotations}: annotation {annotation['id']} has no bbox [x, y, w, h]: "
                f"{str(annotation['bbox'])[:80]}"
            )
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        coco.createIndex()
    return coco, text


def dataset_name(annotations: Path, coco: COCO) -> str:
    """``coco_val/instances`` for ``.../coco_val/instances.json``; drawn scenes say so."""
    info = coco.dataset.get("info")
    if isinstance(info, dict) and info.get("description") == SYNTHETIC_NAME:
        return f"{SYNTHETIC_NAME} (seed {info.get('seed')})"
    return f"{annotations.resolve().parent.name}/{annotations.stem}"


def _check_size(path: Path, entry: dict, annotations: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing, though {annotations} lists it")
    height, width = read_size(path)
    if (height, width) != (entry["height"], entry["width"]):
        raise DataError(
            f"{path} is {width}x{height}, but {annotations} says "
            f"{entry['width']}x{entry['height']} (width x height)"
        )
