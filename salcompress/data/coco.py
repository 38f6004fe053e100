"""A COCO-format data set on disk: its images, its annotations and its category ids."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pycocotools.coco import COCO

from salcompress.data.instances_file import read_instances
from salcompress.errors import DataError, SettingError
from salcompress.files import digest
from salcompress.image import read_size

COCO_CATEGORY_IDS = tuple(
    i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
)
"""Ids of COCO's 80 categories, which are the labels of torchvision's official weights."""

SYNTHETIC_NAME = "synthetic scenes"
"""What ``info`` calls data sets that this package draws itself, and their name in results."""

SKIP_CURE = "repair the file, or leave it out with --skip-bad (skip_bad=True)"
"""What to do about a bad image."""


class CocoImage(NamedTuple):
    """One image of a data set."""

    image_id: int | str
    """As the annotations have it; text where it is no number. It is no name of a file."""
    file_name: str
    """As the annotations have it; it may name subfolders."""
    path: Path
    height: int
    width: int


class CocoDataset(NamedTuple):
    """Images that were found whole, what was left out, and the annotations of all.

    The annotations are checked, completed and numbered anew; see
    :func:`salcompress.data.instances_file.read_instances`.
    """

    name: str
    images: tuple[CocoImage, ...]
    skipped: dict[str, str]
    """The reason by file name, of images that were left out because ``skip_bad`` was asked for."""
    coco: COCO
    fingerprint: str
    """Of the annotations and of the ids of the images asked for. It is not of the images' content,
    which the records of an evaluation check.
    """

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own category ids, sorted: class k of a detector is the k-th of them."""
        return tuple(sorted(self.coco.getCatIds()))


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
        SettingError: The folder or the json is missing, the folder has none of the images,
            ``limit`` is not positive, or no image is left.
        DataError: The json cannot be read for certain, or an image is missing or of another size.
    """
    images, annotations = Path(images), Path(annotations)
    if not images.is_dir():
        raise SettingError(f"images folder {images} does not exist")
    if not annotations.is_file():
        raise SettingError(f"annotations file {annotations} does not exist")
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be at least 1, got {limit}")
    coco, text = load_annotations(annotations)
    entries = coco.dataset["images"][:limit]
    found: list[CocoImage] = []
    skipped: dict[str, str] = {}
    for entry in entries:
        path = images / entry["file_name"]
        try:
            _check_size(path, entry, annotations)
        except DataError as error:
            if not found and not skipped:
                _check_folder(images, annotations, [entry["file_name"] for entry in entries])
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

    They are checked and completed by :func:`salcompress.data.instances_file.read_instances`.

    Raises:
        DataError: The file is missing, or cannot be read for certain.
    """
    content, text = read_instances(annotations)
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        coco.createIndex()
    return coco, text


def dataset_name(annotations: Path, coco: COCO) -> str:
    """What results call a data set: ``coco_val/instances`` for ``.../coco_val/instances.json``.

    Scenes that this package has drawn are called so, with their seed.
    """
    info = coco.dataset.get("info")
    if isinstance(info, dict) and info.get("description") == SYNTHETIC_NAME:
        return f"{SYNTHETIC_NAME} (seed {info.get('seed')})"
    return f"{annotations.resolve().parent.name}/{annotations.stem}"


def _check_size(path: Path, entry: dict[str, Any], annotations: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing, though {annotations} lists it")
    size, annotated = read_size(path), (entry["height"], entry["width"])
    if size == annotated:
        return
    text = (
        f"{path} is {size[1]}x{size[0]}, but {annotations} says {annotated[1]}x{annotated[0]} "
        "(width x height)"
    )
    if annotated == size[::-1]:
        with Image.open(path) as file:
            turned = file.size[::-1] != size
        text += (
            ": that is its size before the turn that its EXIF orientation asks for, and boxes are "
            "of the turned image; write the turned pixels into the file, or correct the annotations"
            if turned
            else ": height and width are exchanged in the annotations"
        )
    raise DataError(text)


def _check_folder(images: Path, annotations: Path, names: list[str]) -> None:
    """Raise where the folder has none of the images that are listed: it is the wrong one.

    One image that is missing is damage to the data set, and another matter.
    """
    if any((images / name).is_file() for name in names):
        return
    folders = [images.parent, *sorted(folder for folder in images.iterdir() if folder.is_dir())]
    for folder in folders:
        if any((folder / name).is_file() for name in names[:20]):
            raise SettingError(
                f"images folder {images} has none of the images that {annotations} lists, and "
                f"{folder} has them; give that folder"
            )
    if len(names) > 1:
        raise SettingError(
            f"images folder {images} has none of the images that {annotations} lists, such as "
            f"{names[0]}; give the folder that holds them"
        )
