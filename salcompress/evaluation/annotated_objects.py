"""The annotated objects of a run's images, kept in its folder, so that a report can say which of
them were found.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from salcompress.data.coco import CocoDataset
from salcompress.errors import DataError
from salcompress.files import read_file, write_atomically

_NAME = "objects.json"


class AnnotatedObjects(NamedTuple):
    """What there is to find."""

    categories: Mapping[int, str]
    """Name by category id."""
    by_image: Mapping[int | str, list[dict[str, Any]]]
    """``bbox`` [x, y, w, h] in pixels, ``category_id`` and ``iscrowd`` of each object, by image
    id.
    """


def write_objects(folder: Path, dataset: CocoDataset) -> None:
    """Keep the boxes and the categories of all annotated objects.

    Raises:
        OutputError: The file cannot be written.
    """
    coco = dataset.coco
    content = {
        "categories": {c["id"]: c["name"] for c in coco.dataset["categories"]},
        # pairs, since keys of json are text, and ids may be numbers
        "images": [
            [
                image.image_id,
                [
                    {name: found[name] for name in ("bbox", "category_id", "iscrowd")}
                    for found in coco.imgToAnns.get(image.image_id, ())
                ],
            ]
            for image in dataset.images
        ],
    }
    write_atomically(folder / _NAME, json.dumps(content))


def read_objects(folder: Path) -> AnnotatedObjects | None:
    """The objects of a run's images; None for a folder of an older version, which has none.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    try:
        content = json.loads(read_file(path))
        return AnnotatedObjects(
            {int(number): str(name) for number, name in content["categories"].items()},
            dict(content["images"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged; delete it, or evaluate again") from error
