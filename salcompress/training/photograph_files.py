"""The files of photographs: which ones to train on, and reading them."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_image
from salcompress.workers import map_in_processes

_FEW = 32
"""One process decodes fewer files than this sooner than others start."""
_NAMED = 5
"""A message names at most so many files."""


def find_images(folders: Sequence[Path]) -> list[Path]:
    """All image files of some folders.

    Args:
        folders: Folders, which are searched with all that is below them, and single files.

    Returns:
        The files, sorted by name within each folder.

    Raises:
        SettingError: A folder is missing or holds no image.
    """
    found: list[Path] = []
    for folder in folders:
        below = Path(folder).rglob("*")
        here = (
            [Path(folder)]
            if Path(folder).is_file()
            else sorted(path for path in below if path.suffix.lower() in IMAGE_ENDINGS)
        )
        if not here:
            raise SettingError(f"{folder} holds no images")
        found += here
    return found


def without(paths: Sequence[Path], left_out: Sequence[Path]) -> list[Path]:
    """Leave held-out files out of some files.

    Args:
        paths: Files.
        left_out: Files, and folders with all image files below them.

    Returns:
        ``paths`` without those that are held out, whatever path names them.

    Raises:
        SettingError: Something to be held out is not among the files. A slip of the pen would
            otherwise train on it.
    """
    known = {path.resolve(): path for path in paths}
    for folder in left_out:
        for path in find_images([folder]):
            if known.pop(path.resolve(), None) is None:
                raise SettingError(
                    f"{path} is to be left out, and is not among the photographs given"
                )
    return list(known.values())


def load_photographs(
    paths: Sequence[Path],
    smallest_side: int,
    *,
    saliency: Callable[[np.ndarray], np.ndarray] | None = None,
    processes: int | None = None,
) -> list[np.ndarray]:
    """Decode photographs, in several processes where there are many.

    What cannot be read and what is too small is left out, and a line says how much. Pixels are read
    as everywhere in this package (:func:`salcompress.image.decode_image`): a colour profile is not
    applied, an alpha channel is dropped, and 16-bit grey keeps its high byte.

    Args:
        paths: Files of photographs.
        smallest_side: Photographs with a smaller side, in pixels, are left out.
        saliency: Gives a map (H, W) in [0, 1] of an image (H, W, 3). It becomes a fourth channel,
            which is 255 where the map is 1. Other processes must find the function by its name.
        processes: Number of processes that decode. None takes one for each processor that this
            process may use.

    Returns:
        The photographs in the order of ``paths``: uint8 (H, W, 3), or (H, W, 4) with saliency.

    Raises:
        SettingError: No photograph is left.
    """
    pictures: list[np.ndarray] = []
    unread: list[str] = []
    small = 0
    for picture in _decoded(paths, saliency, processes or _num_processors()):
        if isinstance(picture, DataError):
            unread.append(str(picture))
        elif min(picture.shape[:2]) < smallest_side:
            small += 1
        else:
            pictures.append(picture)
    _say_what_is_left_out(unread, small, len(paths), smallest_side)
    if not pictures:
        raise SettingError(
            f"none of {len(paths)} photographs can be read and has both sides of at least "
            f"{smallest_side} pixels"
        )
    return pictures


def _num_processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux has it, and macOS has not
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(
    path: Path, saliency: Callable[[np.ndarray], np.ndarray] | None
) -> np.ndarray | DataError:
    try:
        picture = read_image(path)
    except DataError as error:
        return error
    if saliency is None:
        return picture
    return np.dstack([picture, np.rint(saliency(picture) * 255).astype(np.uint8)])


def _say_what_is_left_out(
    unread: Sequence[str], small: int, num_paths: int, smallest_side: int
) -> None:
    if unread:
        rest = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        print(
            f"{len(unread)} of {num_paths} photographs cannot be read and are left out: "
            f"{'; '.join(unread[:_NAMED])}{rest}",
            flush=True,
        )
    if small:
        print(
            f"{small} of {num_paths} photographs have a side of less than {smallest_side} "
            "pixels and are left out",
            flush=True,
        )


def _decoded(
    paths: Sequence[Path], saliency: Callable[[np.ndarray], np.ndarray] | None, processes: int
) -> Iterator[np.ndarray | DataError]:
    """Each photograph in order, or the error that it gave."""
    read = functools.partial(_read, saliency=saliency)
    few = processes == 1 or len(paths) < _FEW
    with map_in_processes(read, paths, 0 if few else processes) as pictures:
        yield from pictures
