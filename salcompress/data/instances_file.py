"""The strict reading of a COCO instances file: everything is checked here, before any work.

What can be read for certain is read: numbers as text, an ``iscrowd`` of null, a polygon without its
outer list. Anything else stops with one sentence that names the entry. Afterwards each annotation
has finite numbers, a box, and either a mask of its image's size or none at all, and the
annotations are numbered anew.
"""

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

from salcompress.data.segmentation import read_segmentation
from salcompress.errors import DataError
from salcompress.files import read_file

_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


def read_instances(path: Path | str) -> tuple[dict[str, Any], bytes]:
    """The content of an instances file, every entry checked, and the bytes it was read from.

    Of the content the following is certain:

    * ``images``: each ``id`` is there once; ids are whole numbers, or all of them text;
      ``file_name`` is text; ``height`` and ``width`` are positive whole numbers of pixels.
    * ``categories``: each ``id`` is a whole number and is there once; ``name`` is text.
    * ``annotations``: ``id`` counts from 1 in the order of the file, and says nothing else;
      ``image_id`` and ``category_id`` are ids from above; ``bbox`` is [x, y, width, height] of
      finite numbers; ``area`` is a finite number of at least 0, that of the box where the file has
      none; ``iscrowd`` is 0 or 1; ``segmentation``, where there is one, is a mask as compressed run
      lengths (see :func:`~salcompress.data.segmentation.read_segmentation`).
    * ``info`` is there.

    Raises:
        DataError: The file is missing, no json, or holds something that cannot be read for
            certain; the message names the entry.

    Warns:
        UserWarning: A segmentation covers no pixel, which costs its object the mask, or an
            annotation is of an image that is not listed, which leaves it out.
    """
    text = read_file(path)
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a json file: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a COCO instances file: it has no list 'images'")
    try:
        images = _read_part(content, "images", "image", _read_image)
        categories = _read_part(content, "categories", "category", _read_category)
        _unify_image_ids(images)
        _check_unique(images, "image")
        _check_unique(categories, "category")
        content["annotations"] = _read_annotations(content, images, categories, path)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    content.setdefault("info", {})  # pycocotools 2.0.10 looks for it
    return content, text


def _read_part(content: dict, part: str, noun: str, read_entry) -> list[dict]:
    """Entries of a list of the file, each read in place; errors name it by its place."""
    entries = content.get(part)
    if not isinstance(entries, list):
        raise ValueError(f"not a COCO instances file: it has no list {part!r}")
    for number, entry in enumerate(entries, 1):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"it must be an object with names and values, got {entry!r:.60}")
            read_entry(entry)
        except ValueError as error:
            raise ValueError(f"{_named(noun, number, entry)}: {error}") from None
    return entries


def _read_image(entry: dict) -> None:
    _require(entry, "id", "file_name", "height", "width")
    entry["id"] = _identity(entry["id"], "id")
    name = entry["file_name"]
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"file_name must be the name of a file, got {name!r:.60}")
    for side in ("height", "width"):
        entry[side] = _whole_number(entry[side], side)
        if entry[side] < 1:
            raise ValueError(f"{side} must be at least 1 pixel, got {entry[side]}")


def _read_category(entry: dict) -> None:
    _require(entry, "id", "name")
    entry["id"] = _whole_number(entry["id"], "id")
    if isinstance(entry["name"], (int, float)) and not isinstance(entry["name"], bool):
        entry["name"] = str(entry["name"])
    if not isinstance(entry["name"], str):
        raise ValueError(f"name must be text, got {entry['name']!r:.60}")


def _read_annotations(
    content: dict, images: list[dict], categories: list[dict], path: Path | str
) -> list[dict]:
    """Annotations of the images that are listed."""
    image_by_name = {str(image["id"]): image for image in images}
    category_ids = {category["id"] for category in categories}
    without_pixels: list[int] = []

    def read_annotation(entry: dict) -> None:
        _require(entry, "image_id", "category_id", "bbox")
        image = image_by_name.get(str(_identity(entry["image_id"], "image_id")))
        entry["category_id"] = _whole_number(entry["category_id"], "category_id")
        if entry["category_id"] not in category_ids:
            raise ValueError(f"its category {entry['category_id']} is not among the categories")
        _read_box(entry)
        entry["iscrowd"] = _flag(entry.get("iscrowd"), "iscrowd")
        entry["image"] = image
        if image is None:
            return
        given = entry.pop("segmentation", None)
        mask = read_segmentation(given, image["height"], image["width"])
        if mask is not None:
            entry["segmentation"] = mask
        elif given:
            without_pixels.append(1)

    entries = _read_part(content, "annotations", "annotation", read_annotation)
    annotations = []
    for number, entry in enumerate(entries, 1):
        image = entry.pop("image")
        if image is not None:
            entry["id"], entry["image_id"] = number, image["id"]
            annotations.append(entry)
    if without_pixels:
        warnings.warn(
            f"{path}: the segmentations of {len(without_pixels)} annotations cover no pixel; their "
            "objects count in box AP and not in mask AP",
            stacklevel=4,
        )
    left_out = len(entries) - len(annotations)
    if left_out and not annotations:
        raise ValueError(
            "none of its annotations is of an image that it lists; the image_id of an annotation "
            "must be the id of an image"
        )
    if left_out:
        warnings.warn(
            f"{path}: {left_out} of {len(entries)} annotations are of images that it does not "
            "list; they are left out",
            stacklevel=4,
        )
    return annotations


def _read_box(entry: dict) -> None:
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"bbox must be four numbers [x, y, width, height], got {box!r:.60}")
    box = [_number(value, "bbox") for value in box]
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"the width and height of bbox must be at least 0, got {box}")
    entry["bbox"] = box
    area = entry.get("area")
    entry["area"] = box[2] * box[3] if area is None else _number(area, "area")
    if entry["area"] < 0:
        raise ValueError(f"area must be at least 0, got {entry['area']}")


def _unify_image_ids(images: list[dict]) -> None:
    """Where one id is text, all are: numbers and text have no common order."""
    if any(isinstance(image["id"], str) for image in images):
        for image in images:
            image["id"] = str(image["id"])


def _check_unique(entries: list[dict], noun: str) -> None:
    known = set()
    for entry in entries:
        if entry["id"] in known:
            raise ValueError(f"{noun} {entry['id']!r} is listed twice; keep one of the entries")
        known.add(entry["id"])


def _require(entry: dict, *keys: str) -> None:
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")


def _number(value: Any, name: str) -> int | float:
    """A finite number, also one that is written as text."""
    if isinstance(value, str):
        try:
            value = int(value) if _WHOLE_NUMBER.fullmatch(value) else float(value)
        except ValueError:
            raise ValueError(f"{name} must hold numbers, got {value!r:.60}") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must hold numbers, got {value!r:.60}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must hold finite numbers, got {value}")
    return value


def _whole_number(value: Any, name: str) -> int:
    number = _number(value, name)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(number)


def _identity(value: Any, name: str) -> int | str:
    """An image's id: a whole number, also one that is written as text, or any other text."""
    if isinstance(value, str) and value and not _WHOLE_NUMBER.fullmatch(value):
        return value
    return _whole_number(value, name)


def _flag(value: Any, name: str) -> int:
    """0 or 1, also as a truth value or as text; 0 where there is none."""
    if value is None:
        return 0
    number = int(value) if isinstance(value, bool) else _whole_number(value, name)
    if number not in (0, 1):
        raise ValueError(f"{name} must be 0 or 1, got {value!r}")
    return number


def _named(noun: str, number: int, entry: Any) -> str:
    """``annotation 7``, and the file's own id where that is another number."""
    given = entry.get("id") if isinstance(entry, dict) else None
    return f"{noun} {number}" + (f" (its id: {given!r:.40})" if given not in (None, number) else "")
