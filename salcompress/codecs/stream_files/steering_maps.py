"""Saliency maps of a user's own, as picture files named after the images that they steer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salcompress.codecs.stream_files.inputs import InputFile
from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_image, read_size


def find_maps(files: Sequence[InputFile], folder: Path) -> list[Path]:
    """The map of each image: a picture with the same stem.

    It lies in the same sub-folder below ``folder`` as the image below its own, or in ``folder``
    itself. Sizes are compared by the headers of both files, before any work.

    Raises:
        SettingError: The folder is missing, or an image has no map, or more than one.
        DataError: A map is not of its image's size, or its header cannot be read.
    """
    if not folder.is_dir():
        raise SettingError(f"folder of saliency maps {folder} does not exist")
    by_stem: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
            by_stem.setdefault(path.relative_to(folder).with_name(path.stem), []).append(path)
    maps, missing = [], []
    for file in files:
        stem = file.path.stem
        found = by_stem.get(file.below.with_name(stem)) or by_stem.get(Path(stem)) or []
        if len(found) > 1:
            raise SettingError(
                f"{file.path} has several maps, {found[0]} and {found[1]}; leave one of them"
            )
        maps += found
        missing += [] if found else [file.path]
    if missing:
        raise SettingError(
            f"{len(missing)} of {len(files)} images have no saliency map in {folder}, such as "
            f"{missing[0]}; its map must be named {missing[0].stem}.png"
        )
    for file, path in zip(files, maps):
        _check_size(file.path, path)
    return maps


def read_map(path: Path) -> np.ndarray:
    """The map of a grey picture file, float32 (H, W) in [0, 1]; white is 1.

    Raises:
        DataError: The file cannot be read, or is not grey.
    """
    pixels = read_image(path)
    if (pixels != pixels[:, :, :1]).any():
        raise DataError(f"saliency map {path} is not grey; save it as 8-bit grey, white for 1")
    return pixels[:, :, 0].astype(np.float32) / 255


def _check_size(image: Path, path: Path) -> None:
    height, width = read_size(path)
    try:
        wanted = read_size(image)
    except DataError:
        return  # the image is to blame, and its turn will come
    if (height, width) != wanted:
        raise DataError(
            f"saliency map {path} is {width}x{height}, and {image} is {wanted[1]}x{wanted[0]} "
            "(width x height); resize the map to the image's size"
        )
