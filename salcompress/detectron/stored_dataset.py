"""Data sets that ``salcompress compress`` stored as streams, as data sets of Detectron2."""

import functools
import json
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from salcompress.codecs.stored_images import StoredImages
from salcompress.data.instances_file import read_instances
from salcompress.errors import DataError, SettingError

STORED_KEY = "stored"
"""Key of a picture's dict: the location of its data set, and its number there."""


def register_stored(name: str, location: Path | str, annotations: Path | str) -> None:
    """Register a stored data set, so that ``DATASETS.TRAIN = (name,)`` trains from its streams.

    The mappers of this package decode a picture's stream where they would have read its file. Its
    rate is that of the stream. The weights of learned streams are found as
    :class:`~salcompress.codecs.stored_images.StoredImages` finds them.

    Args:
        name: A name that Detectron2 does not know yet.
        location: Folder or address that ``salcompress compress --out`` wrote.
        annotations: COCO instances file of the images.

    Raises:
        SettingError: The name is taken, there is no complete stored data set, or no such file. When
            the data set is used first: annotated images are not stored.
        ModelMismatchError: The weights of the streams are not at hand.
    """
    if name in DatasetCatalog:
        raise SettingError(f"a data set {name} is registered already; choose another name")
    if not Path(annotations).is_file():
        raise SettingError(f"annotations file {annotations} does not exist")
    location = str(location)
    stored_images(location)  # so that what is wrong with it is said now
    DatasetCatalog.register(name, partial(_load, name, location, str(annotations)))
    MetadataCatalog.get(name).set(
        json_file=str(annotations), image_root=location, evaluator_type="coco", stored=location
    )


def stored_dicts(name: str, location: Path | str, annotations: Path | str) -> list[dict[str, Any]]:
    """Detectron2's dicts of a stored data set, which is registered first if it is not: for
    LazyConfigs.

    Raises:
        SettingError: As of :func:`register_stored`.
        DataError: Annotated images are not stored.
    """
    if name not in DatasetCatalog:
        register_stored(name, location, annotations)
    return DatasetCatalog.get(name)


def register_configured(cfg: CfgNode) -> None:
    """Register what ``cfg.SALCOMPRESS.STORED`` lists.

    Raises:
        SettingError: An entry is no [name, location, annotations], or as of
            :func:`register_stored`.
    """
    for entry in cfg.SALCOMPRESS.STORED:
        if len(entry) != 3:
            raise SettingError(
                "each entry of SALCOMPRESS.STORED must be [name, location, annotations], got "
                f"{list(entry)}"
            )
        name, location, annotations = entry
        known = MetadataCatalog.get(name) if name in DatasetCatalog else None
        # another launch of this process may have registered it
        if known is None or (known.get("stored"), known.get("json_file")) != (
            location,
            annotations,
        ):
            register_stored(name, location, annotations)


@functools.lru_cache(16)
def stored_images(location: str, device: str | None = None) -> StoredImages:
    """The images of a stored data set, opened once in each process and for each device."""
    return StoredImages(location, device)


def _load(name: str, location: str, annotations: str) -> list[dict[str, Any]]:
    numbers = {image.file_name: k for k, image in enumerate(stored_images(location).streams)}
    _check_numbers(annotations)
    entries = load_coco_json(annotations, "", name)
    missing = [entry["file_name"] for entry in entries if entry["file_name"] not in numbers]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(entries)} images that {annotations} lists are not stored "
            f"in {location}, such as {missing[0]}; store them, too, or take them out of the file: "
            "an evaluation would count their objects as missed"
        )
    for entry in entries:
        entry[STORED_KEY] = (location, numbers[entry["file_name"]])
        entry["file_name"] = f"{location}/{entry['file_name']}"
    return entries


def _check_numbers(annotations: str) -> None:
    """Read annotations as strictly as every command here, before Detectron2 reads them its way."""
    content, text = read_instances(annotations)
    given = json.loads(text)
    ids = {"images": ("id",), "annotations": ("image_id", "category_id"), "categories": ("id",)}
    for part, keys in ids.items():
        for ours, theirs in zip(content[part], given[part]):
            if any(ours[key] != theirs[key] for key in keys if key in theirs):
                raise DataError(
                    f"{annotations}: an entry of {part!r} has a number as text, which Detectron2 "
                    f"does not read: {str(theirs)[:80]}; write numbers"
                )
