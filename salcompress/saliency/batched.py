"""Saliency of images on a device: the network sees all images of a batch at once, whatever their
sizes.

Both resizes around the network are linear, so each is two products with small matrices: one makes
the pictures that the network sees, the other goes from the network's maps straight to the means of
cells. Saliency is that of each image alone up to float rounding, which moves a level by one in rare
cells.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, cells_of
from salcompress.models.full_precision import full_precision
from salcompress.saliency.functions import seen_size
from salcompress.saliency.network import SaliencyNet
from salcompress.saliency.seen_batch import SeenBatch, seen_lines

_SEEN_STEP = 64
"""Sides of the batch that the network sees are multiples of it."""


class DeviceSaliency:
    """Mean saliency of the cells of images, as ``block_means(run_network(model, image), ...)``
    gives it.

    Args:
        model: The network, on the images' device.
    """

    def __init__(self, model: SaliencyNet):
        self.model, self.device = model, next(model.parameters()).device

    @staticmethod
    def fits(height: int, width: int) -> bool:
        """Whether images of this size can be given: small and very long ones, which the network
        sees enlarged, cannot.
        """
        seen_height, seen_width = seen_size(height, width)
        return seen_height <= height and seen_width <= width

    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Saliency of the cells of each image.

        Args:
            images: uint8 (N, 3, H, W), padded to whole cells, channels last.
            sizes: Height and width of each image, all of which fit.

        Returns:
            float64 (N, H / 64, W / 64) in [0, 1]; 0 beyond an image.
        """
        known = self.known(sizes, (images.shape[2] // CELL, images.shape[3] // CELL))
        moved = {name: value.to(self.device) for name, value in known.items()}
        return self.of_batch(images, moved, seen_by_all(sizes))

    @staticmethod
    def known(sizes: Sequence[tuple[int, int]], cells: tuple[int, int]) -> dict[str, Tensor]:
        """What :meth:`of_batch` needs to know of images, on the host, by name.

        Args:
            sizes: Height and width of each image. What comes of one that does not fit means
                nothing.
            cells: Rows and columns of cells of the batch.
        """
        seen = [_seen(*size) for size in sizes]
        together = seen_by_all(sizes)
        lengths = torch.tensor([[*size, *of_seen] for size, of_seen in zip(sizes, seen)])
        rows, columns = (_cells(sizes, seen, axis, cells, together) for axis in range(2))
        return {
            "lengths": lengths,
            "lines": seen_lines(seen, together),
            "rows": rows,
            "columns": columns,
        }

    def of_batch(
        self, images: Tensor, known: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Saliency of the cells of each image, without waiting for the device.

        Args:
            images: As of a call.
            known: What :meth:`known` gives, on the device.
            size: What :func:`seen_by_all` gives.

        Returns:
            As of a call.
        """
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), full_precision():
            batch = SeenBatch(known["lines"], size)
            small = _shrink(images, known["lengths"], size)
            saliency = self.model.saliency_of_batch(small, batch)
            means = known["rows"] @ saliency[:, 0].double() @ known["columns"].transpose(1, 2)
            return means.clamp(0, 1)


def seen_by_all(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Height and width of the batch in which the network sees images, of few different ones, so
    that few CUDA graphs serve all.
    """
    height, width = (max(sides) for sides in zip(*(_seen(*size) for size in sizes)))
    return -(-height // _SEEN_STEP) * _SEEN_STEP, -(-width // _SEEN_STEP) * _SEEN_STEP


def _seen(height: int, width: int) -> tuple[int, int]:
    """Height and width at which the network sees an image; of one that does not fit, what does."""
    seen_height, seen_width = seen_size(height, width)
    return min(seen_height, height), min(seen_width, width)


def _shrink(images: Tensor, lengths: Tensor, seen: tuple[int, int]) -> Tensor:
    """What the network sees, float32 (N, 3, h, w) in [0, 1], as cv2.INTER_AREA gives it in 8 bits.
    Beyond the pictures it means nothing.

    Args:
        images: uint8 (N, 3, H, W).
        lengths: Height and width of each image, and of what is seen of it, int64 (N, 4).
        seen: Height h and width w of the batch that is seen.
    """
    number, _, height, width = images.shape
    size, small = lengths[:, :2], lengths[:, 2:]
    down, across = seen
    rows = area_matrices(size[:, 0], small[:, 0], height, down)
    columns = area_matrices(size[:, 1], small[:, 1], width, across)
    by_rows = rows @ images.permute(0, 2, 3, 1).float().reshape(number, height, width * 3)
    by_columns = by_rows.view(number, down, width, 3).transpose(1, 2)
    means = columns @ by_columns.reshape(number, width, down * 3)
    means = means.view(number, across, down, 3).permute(0, 3, 2, 1)
    # OpenCV has a kernel of its own for halves, which rounds up what lies between two integers
    halved = (size == 2 * small).all(1)[:, None, None, None]
    return torch.where(halved, torch.floor(means + 0.5), torch.round(means)) / 255


def _cells(
    sizes: Sequence[tuple[int, int]],
    seen: Sequence[tuple[int, int]],
    axis: int,
    cells: tuple[int, int],
    together: tuple[int, int],
) -> Tensor:
    """Matrices from the network's maps to the means of cells along an axis, float64 (N, cells,
    positions).
    """
    matrices = np.zeros((len(sizes), cells[axis], together[axis]))
    for whole, size, of_seen in zip(matrices, sizes, seen):
        one = cell_matrix(size[axis], of_seen[axis])
        whole[: one.shape[0], : one.shape[1]] = one
    return torch.from_numpy(matrices)


def area_matrices(sizes: Tensor, seen: Tensor, longest: int, longest_seen: int) -> Tensor:
    """Means over equal parts of lines, as cv2.INTER_AREA takes them.

    Args:
        sizes: How long each line is, int64 (N,).
        seen: Into how many parts it is cut, int64 (N,).
        longest, longest_seen: How long the lines, and how many the parts are in the batch.

    Returns:
        float32 (N, longest_seen, longest). What a part lacks in its line is 0.
    """
    # counted in units of 1 / (size x seen), in which the ends of parts and of pixels are integers
    parts = torch.arange(longest_seen + 1, device=sizes.device) * sizes[:, None]
    pixels = torch.arange(longest + 1, device=sizes.device) * seen[:, None]
    ends = torch.minimum(parts[:, 1:, None], pixels[:, None, 1:])
    starts = torch.maximum(parts[:, :-1, None], pixels[:, None, :-1])
    return (ends - starts).clamp_(min=0).float() / sizes[:, None, None].float()


@functools.lru_cache(maxsize=1024)
def cell_matrix(size: int, seen: int) -> np.ndarray:
    """Means over the cells of a line that was enlarged to ``size`` as cv2.INTER_LINEAR does it,
    float64 (cells, seen).
    """
    places = ((np.arange(size) + 0.5) * (seen / size) - 0.5).clip(0, seen - 1)
    low = np.minimum(np.floor(places).astype(int), max(seen - 2, 0))
    weight = places - low
    enlarge = np.zeros((size, seen))
    enlarge[np.arange(size), low] += 1 - weight
    enlarge[np.arange(size), np.minimum(low + 1, seen - 1)] += weight
    starts = np.arange(cells_of(size, 1)[0]) * CELL
    return np.add.reduceat(enlarge, starts) / np.diff(np.append(starts, size))[:, None]
