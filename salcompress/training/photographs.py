"""Photographs in a device's memory at several scales, and random crops of them, drawn there."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_image

SCALES, SHARES = (1.0, 2**-0.5, 0.5), (0.5, 0.25, 0.25)
"""Of the photographs, and how much of the crops each gives. Our choice."""
_FEW = 32
"""Files that one process decodes sooner than others start."""
_NAMED = 5


def find_images(folders: Sequence[Path]) -> list[Path]:
    """The files given, and all image files under the folders given, sorted by name within each.

    Raises:
        SettingError: A folder is missing or holds none.
    """
    found = []
    for folder in folders:
        here = (
            [folder]
            if Path(folder).is_file()
            else sorted(
                path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_ENDINGS
            )
        )
        if not here:
            raise SettingError(f"{folder} holds no images")
        found += here
    return found


def without(paths: Sequence[Path], left_out: Sequence[Path]) -> list[Path]:
    """Files but those that are held out: files, and all image files under folders.

    Raises:
        SettingError: Something to be held out is not among the files: a slip of the pen would train
            on it.
    """
    known = {path.resolve(): path for path in paths}
    for folder in left_out:
        for path in find_images([folder]):
            if known.pop(path.resolve(), None) is None:
                raise SettingError(
                    f"{path} is to be left out, and is not among the photographs given"
                )
    return list(known.values())


class Photographs:
    """Photographs as uint8 on a device, each at the scales of ``SCALES``.

    Args:
        pictures: uint8 (H, W, C) each; C is 3, or 4 with saliency as the last channel. They are
            copied.
        device: Where they lie, and crops are drawn.

    Raises:
        SettingError: There are none, or the device's memory does not hold them.
    """

    def __init__(self, pictures: Sequence[np.ndarray], device: torch.device | str = "cpu"):
        if not pictures:
            raise SettingError("there are no photographs to train on")
        self.num_pictures, self.device = len(pictures), torch.device(device)
        sizes = [
            [tuple(max(1, round(side * scale)) for side in picture.shape[:2]) for scale in SCALES]
            for picture in pictures
        ]
        flat = np.array(
            [size for scaled in sizes for size in scaled], np.int64
        )  # (pictures x scales, 2)
        ends = np.cumsum(flat.prod(1))
        shape = int(ends[-1]), pictures[0].shape[2]
        try:
            self._pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            raise SettingError(
                f"the photographs, {shape[0] * shape[1] / 1e9:.1f} GB at their scales, do not "
                f"fit into the memory of {self.device}: "
                "give fewer"
            ) from error
        start = 0
        for picture, scaled in zip(pictures, sizes):
            for height, width in scaled:
                pixels = (
                    picture
                    if picture.shape[:2] == (height, width)
                    else cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                )
                self._pixels[start : start + height * width] = torch.from_numpy(
                    np.ascontiguousarray(pixels)
                ).view(height * width, -1)
                start += height * width
        self._sides = flat
        self._weights = np.repeat(
            [sizes[0][0] * sizes[0][1] for sizes in sizes], len(SCALES)
        ) * np.tile(SHARES, len(pictures))
        self._starts, self._heights, self._widths = (
            torch.from_numpy(values).to(self.device)
            for values in (ends - flat.prod(1), *flat.T.copy())
        )
        self._drawable: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def has_saliency(self) -> bool:
        """Whether crops carry a fourth channel."""
        return self._pixels.shape[1] == 4

    @property
    def largest_side(self) -> int:
        """Of a crop that at least one photograph can give."""
        return int(self._sides.min(1).max())

    def crops(self, count: int, side: int) -> Tensor:
        """Random crops, half of them mirrored, by torch's generator of the device; nothing waits
        for the device after a first call.

        Photographs are drawn by their area, of those that can give such a crop at a scale, and
        places evenly.

        Returns:
            Float (count, C, side, side) in [0, 1], channels last.

        Raises:
            SettingError: No photograph is large enough.
        """
        entries, cumulative = self._of_side(side)
        place, down, across, mirrored = torch.rand(
            4, count, dtype=torch.float64, device=self.device
        )
        chosen = entries[
            torch.searchsorted(cumulative, place, right=True).clamp_(max=len(entries) - 1)
        ]
        width = self._widths[chosen]
        top = (down * (self._heights[chosen] - side + 1)).long()
        left = (across * (width - side + 1)).long()
        along = torch.arange(side, device=self.device)
        columns = torch.where((mirrored < 0.5)[:, None], side - 1 - along, along) + left[:, None]
        rows = (along + top[:, None]) * width[:, None] + self._starts[chosen][:, None]
        index = rows[:, :, None] + columns[:, None]
        pixels = self._pixels.index_select(0, index.flatten()).view(count, side, side, -1)
        return pixels.permute(0, 3, 1, 2).float().div_(255)

    def _of_side(self, side: int) -> tuple[Tensor, Tensor]:
        """Which entries can give crops of a side, and how likely a crop is of the first k."""
        if side not in self._drawable:
            large = np.flatnonzero(self._sides.min(1) >= side)
            if not len(large):
                raise SettingError(f"no photograph has both sides of at least {side} pixels")
            cumulative = np.cumsum(self._weights[large] / self._weights[large].sum())
            self._drawable[side] = (
                torch.from_numpy(large).to(self.device),
                torch.from_numpy(cumulative).to(self.device),
            )
        return self._drawable[side]


def load_photographs(
    paths: Sequence[Path],
    smallest_side: int,
    *,
    saliency: Callable[[np.ndarray], np.ndarray] | None = None,
    processes: int | None = None,
) -> list[np.ndarray]:
    """Decode photographs, by several processes where there are many.

    What cannot be read and what is too small is left out, and a line says how much. Pixels are
    taken as everywhere in this package (:func:`salcompress.image.decode_image`): a colour profile
    is not applied, an alpha channel is dropped, 16-bit grey keeps its high byte.

    Args:
        smallest_side: Of what is kept, in pixels.
        saliency: Gives a map (H, W) in [0, 1] of an image (H, W, 3). It becomes a fourth channel,
            255 where most salient.
        processes: That decode; as many as this process may use processors if None.

    Returns:
        uint8 (H, W, 3), or (H, W, 4) with saliency.

    Raises:
        SettingError: None is left.
    """
    pictures, unread, small = [], [], 0
    for picture in _decoded(paths, processes or len(os.sched_getaffinity(0))):
        if isinstance(picture, DataError):
            unread.append(str(picture))
        elif min(picture.shape[:2]) < smallest_side:
            small += 1
        else:
            map_ = [] if saliency is None else [np.rint(saliency(picture) * 255).astype(np.uint8)]
            pictures.append(np.dstack([picture, *map_]) if map_ else picture)
    if unread:
        rest = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        print(
            f"{len(unread)} of {len(paths)} photographs cannot be read and are left out: "
            f"{'; '.join(unread[:_NAMED])}{rest}",
            flush=True,
        )
    if small:
        print(
            f"{small} of {len(paths)} photographs have a side of less than {smallest_side} "
            "pixels and are left out",
            flush=True,
        )
    if not pictures:
        raise SettingError(
            f"none of {len(paths)} photographs can be read and has both sides of at least "
            f"{smallest_side} pixels"
        )
    return pictures


def _decoded(paths: Sequence[Path], processes: int):
    """Each photograph, or the error that it gave, in order."""
    if processes == 1 or len(paths) < _FEW:
        for path in paths:
            try:
                yield read_image(path)
            except DataError as error:
                yield error
        return
    with concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn")
    ) as pool:
        for future in [pool.submit(read_image, path) for path in paths]:
            try:
                yield future.result()
            except DataError as error:
                yield error
