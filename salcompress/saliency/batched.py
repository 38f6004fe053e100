"""Quality levels of images on a device: the saliency network in batches, without waiting for the
device.

Both resizes around the network are linear, so each is two products with small matrices: one makes
the picture that the network sees, the other goes from the network's map straight to the means of
cells. Levels are those of the codec up to float rounding, which moves a level by one in rare cells.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, cells_of
from salcompress.models.full_precision import full_precision
from salcompress.saliency.functions import seen_size
from salcompress.saliency.network import SaliencyNet

_MOST_MATRICES = 256  # a data set has some hundred sizes; COCO's matrices take 60 MB


class DeviceSaliency:
    """Mean saliency of the cells of images, as ``block_means(run_network(model, image), ...)``
    gives it.

    Args:
        model: The network, on the images' device.
    """

    def __init__(self, model: SaliencyNet):
        self.model, self.device = model, next(model.parameters()).device
        self._matrices: dict[tuple[str, int, int], Tensor] = {}

    @staticmethod
    def fits(height: int, width: int) -> bool:
        """Whether images of this size can be given: small and very long ones, which the network
        sees enlarged, cannot.
        """
        seen_height, seen_width = seen_size(height, width)
        return seen_height <= height and seen_width <= width

    def __call__(self, images: Sequence[Tensor]) -> list[Tensor]:
        """uint8 (3, H, W) to float64 (rows, columns) in [0, 1], image by image."""
        sizes = [tuple(image.shape[1:]) for image in images]
        alike: dict[tuple[int, int], list[int]] = {}
        for k, size in enumerate(sizes):
            alike.setdefault(seen_size(*size), []).append(k)
        cells: dict[int, Tensor] = {}
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), full_precision():
            for seen, members in alike.items():
                pictures = torch.stack([self._shrink(images[k], seen) for k in members]).contiguous(
                    memory_format=torch.channels_last
                )
                for k, saliency in zip(members, self.model.saliency(pictures)[:, 0].double()):
                    rows, columns = (
                        self._matrix("cells", sizes[k][0], seen[0]),
                        self._matrix("cells", sizes[k][1], seen[1]),
                    )
                    cells[k] = (rows @ saliency @ columns.T).clamp(0, 1)
        return [cells[k] for k in range(len(images))]

    def _shrink(self, image: Tensor, seen: tuple[int, int]) -> Tensor:
        """float32 (3, *seen) in [0, 1], as cv2.INTER_AREA gives it in 8 bits."""
        height, width = image.shape[1:]
        means = (
            self._matrix("area", height, seen[0])
            @ image.float()
            @ self._matrix("area", width, seen[1]).T
        )
        halved = (height, width) == (
            2 * seen[0],
            2 * seen[1],
        )  # for which OpenCV has a kernel of its own, that rounds halves up
        return (torch.floor(means + 0.5) if halved else torch.round(means)) / 255

    def _matrix(self, kind: str, size: int, seen: int) -> Tensor:
        key = (kind, size, seen)
        if key not in self._matrices:
            if len(self._matrices) >= _MOST_MATRICES:
                self._matrices.clear()
            made = torch.from_numpy(
                area_matrix(size, seen).astype(np.float32)
                if kind == "area"
                else cell_matrix(size, seen)
            )
            self._matrices[key] = (
                made.pin_memory().to(self.device, non_blocking=True)
                if self.device.type == "cuda"
                else made
            )
        return self._matrices[key]


def area_matrix(size: int, seen: int) -> np.ndarray:
    """(seen, size): means over equal parts of a line, as cv2.INTER_AREA takes them."""
    ends = np.arange(seen + 1) * (size / seen)
    places = np.arange(size)
    overlap = np.minimum(ends[1:, None], places + 1) - np.maximum(ends[:-1, None], places)
    return overlap.clip(0) / overlap.clip(0).sum(1, keepdims=True)


def cell_matrix(size: int, seen: int) -> np.ndarray:
    """(cells, seen): means over the cells of a line that was enlarged to ``size`` as
    cv2.INTER_LINEAR does it.
    """
    places = ((np.arange(size) + 0.5) * (seen / size) - 0.5).clip(0, seen - 1)
    low = np.minimum(np.floor(places).astype(int), max(seen - 2, 0))
    weight = places - low
    enlarge = np.zeros((size, seen))
    enlarge[np.arange(size), low] += 1 - weight
    enlarge[np.arange(size), np.minimum(low + 1, seen - 1)] += weight
    starts = np.arange(cells_of(size, 1)[0]) * CELL
    return np.add.reduceat(enlarge, starts) / np.diff(np.append(starts, size))[:, None]
