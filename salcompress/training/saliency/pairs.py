"""Images with masks of their salient objects, read from files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_image

_KEPT_SIDE = 320
"""Pictures are kept in memory with at most this long side; samples have 256 pixels."""
_HELD_OUT = 10
"""One pair of so many is held out."""


class SaliencyPair(NamedTuple):
    """An image and where its salient objects are."""

    name: str
    image: np.ndarray
    """uint8 (H, W, 3)."""
    mask: np.ndarray
    """bool (H, W)."""


def load_pairs(folder: Path | str, every: int = 1) -> list[SaliencyPair]:
    """Read all images of ``FOLDER/images``, each with the mask of its name in ``FOLDER/masks``.

    The ending is no part of the name: ``images/a.jpg`` goes with ``masks/a.png``.

    Args:
        folder: The folder.
        every: Of so many pairs in the order of names only the first is read.

    Returns:
        The pairs, sorted by name.

    Raises:
        SettingError: A folder is missing or holds no image.
        DataError: Two files of a folder have one name, an image has no mask or a mask no image, a
            mask marks nothing, the two differ in size, or one cannot be read. The message names
            the file.
    """
    images, masks = (_files_by_name(Path(folder) / part) for part in ("images", "masks"))
    _check_complete(images, masks, "mask")
    _check_complete(masks, images, "image")
    return [_read_pair(name, path, masks[name]) for name, path in sorted(images.items())[::every]]


def _files_by_name(folder: Path) -> dict[str, Path]:
    """The images of a folder by name, without the ending."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in IMAGE_ENDINGS:
            continue
        if path.stem in files:
            raise DataError(
                f"{files[path.stem]} and {path} have one name; pairs are found by the name without "
                "its ending: rename one of them, and its companion"
            )
        files[path.stem] = path
    if not files:
        raise SettingError(
            f"{folder} holds no images; pairs are FOLDER/images/NAME.jpg and FOLDER/masks/NAME.png"
        )
    return files


def _check_complete(some: Mapping[str, Path], others: Mapping[str, Path], missing: str) -> None:
    alone = [str(path) for name, path in some.items() if name not in others]
    if alone:
        raise DataError(
            f"{alone[0]} has no {missing} of that name"
            + (f", nor have {len(alone) - 1} others" if alone[1:] else "")
        )


def _read_pair(name: str, image_path: Path, mask_path: Path) -> SaliencyPair:
    image, grey = read_image(image_path), read_image(mask_path)[:, :, 0]
    mask = grey > 127
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{mask_path} is {mask.shape[1]}x{mask.shape[0]}, but its image "
            f"{image.shape[1]}x{image.shape[0]} (width x height); masks are never rescaled"
        )
    if not mask.any():
        raise DataError(
            f"{mask_path} marks nothing: masks are 0 and 255, and its largest value is {grey.max()}"
        )
    return SaliencyPair(name, image, mask)


def split_pairs(pairs: Sequence[SaliencyPair]) -> tuple[list[SaliencyPair], list[SaliencyPair]]:
    """Hold out each tenth pair in the order of names, before any training.

    Returns:
        The pairs to train on, and those held out.
    """
    ordered = sorted(pairs, key=lambda pair: pair.name)
    return [pair for k, pair in enumerate(ordered) if k % _HELD_OUT], ordered[::_HELD_OUT]


def shrink_pair(pair: SaliencyPair) -> SaliencyPair:
    """Shrink a pair to at most the long side that training keeps in memory.

    This is for training alone. Scores are taken at the original size.
    """
    scale = _KEPT_SIDE / max(pair.mask.shape)
    if scale >= 1:
        return pair
    image = cv2.resize(pair.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    covered = cv2.resize(
        pair.mask.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_AREA
    )
    # the largest share counts as covered, so that an object does not vanish, however small it is
    return SaliencyPair(pair.name, image, covered >= min(0.5, covered.max()))
