"""The images that are to be stored as streams, and the list that is kept of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from salcompress.data.coco import load_annotations, load_dataset
from salcompress.data.storage import LocalFolder, Storage
from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS

_LIST = "images.json"


class Sources(NamedTuple):
    """The images that are to be stored, in this order."""

    images: Storage
    file_names: Sequence[str]
    """Names below ``images``, with ``/`` between folders. They are stored, too."""
    problems: Mapping[str, str] = {}
    """Why some are known already to be unusable, by file name."""
    sizes: Mapping[str, int] = {}
    """Bytes of the files, as far as they are known, by file name."""
    passed_over: Sequence[str] = ()
    """Files of the folder that are not named as images."""


def find_sources(images: Storage, annotations: Path | None = None) -> Sources:
    """The images of a folder, or those that annotations list.

    Args:
        images: Where the images are.
        annotations: A COCO instances file. Images that it lists and that are missing, or of another
            size than it says, become problems. In a folder that is not on this machine that shows
            when they are encoded.

    Raises:
        SettingError: The folder or the file does not exist, or no image is there.
        DataError: The annotations cannot be read.
    """
    if annotations is None:
        sizes = images.sizes()
        names = [n for n in sizes if PurePosixPath(n).suffix.lower() in IMAGE_ENDINGS]
        taken = set(names)
        return Sources(images, names, {}, sizes, [n for n in sizes if n not in taken])
    if isinstance(images, LocalFolder):
        dataset = load_dataset(images.folder, annotations, skip_bad=True)
        names = [entry["file_name"] for entry in dataset.coco.dataset["images"]]
        known = {name: images.size(name) for name in names}
        sizes = {name: size for name, size in known.items() if size is not None}
        return Sources(images, names, dataset.skipped, sizes)
    coco, _ = load_annotations(annotations)
    return Sources(images, [entry["file_name"] for entry in coco.dataset["images"]])


def check_names(sources: Sources) -> None:
    """Raise unless there are images, each named once and below the folder.

    Raises:
        SettingError: There is none, one is named twice, or a name leaves the folder.
    """
    if not sources.file_names:
        raise SettingError(f"{sources.images.label} has no image to compress")
    seen: set[str] = set()
    for name in sources.file_names:
        check_name(name)
        if name in seen:
            raise SettingError(f"{name} is listed twice; each image is stored once")
        seen.add(name)


def check_name(name: str) -> None:
    """Raise unless a name stays below the folder that it is joined to.

    Raises:
        SettingError: It is absolute, or has a part ``..``.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise SettingError(f"image name {name!r} leaves its folder; names must lie below it")


def write_list(out: Storage, sources: Sources) -> None:
    """Keep the list of images beside what is stored, so that a later call goes on with it.

    Raises:
        OutputError: It cannot be written.
    """
    sizes = [sources.sizes.get(name) for name in sources.file_names]
    out.write(_LIST, json.dumps({"names": list(sources.file_names), "sizes": sizes}))


def listed_sources(out: Storage, sources: Sources) -> Sources:
    """The images that were to be stored when work began; what has vanished since is among them.

    Raises:
        SettingError: There are images that were not there then, or some have changed.
        DataError: The list is missing or damaged.
    """
    try:
        kept = json.loads(out.read(_LIST))
        names, sizes = list(kept["names"]), list(kept["sizes"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{out.label}/{_LIST} is damaged ({error}); compress into another folder"
        ) from error
    known = set(names)
    new = [name for name in sources.file_names if name not in known]
    if new:
        raise SettingError(
            f"{out.label} was begun without {len(new)} of these images, such as {new[0]}; "
            "compress into another folder, or leave them out"
        )
    for name, size in zip(names, sizes, strict=True):
        now = sources.sizes.get(name)
        if size is not None and now is not None and size != now:
            raise SettingError(
                f"{out.label} was begun with other images: {name} had {size} bytes then, {now} "
                "now; compress into another folder"
            )
    return sources._replace(file_names=names)
