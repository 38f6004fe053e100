"""Photographs in a device's memory at several scales, and random crops of them, drawn there."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from salcompress.errors import SettingError
from salcompress.files import digest

SCALES = (1.0, 2**-0.5, 0.5)
"""Each photograph is kept at these scales. Our choice."""
SHARES = (0.5, 0.25, 0.25)
"""Each scale gives this share of the crops. Our choice."""


class Photographs:
    """Photographs as uint8 on a device, each at the scales of ``SCALES``.

    Args:
        pictures: uint8 (H, W, C) each. C is 3, or 4 with saliency as the last channel. The pictures
            are copied.
        device: Where the photographs lie, and where crops are drawn.

    Attributes:
        num_pictures: Number of photographs.
        fingerprint: Digest of the colours of all photographs in their order. Saliency is left out,
            since it may differ by rounding between machines.

    Raises:
        SettingError: There are no pictures, or the device's memory does not hold them.
    """

    def __init__(self, pictures: Sequence[np.ndarray], device: torch.device | str = "cpu"):
        if not pictures:
            raise SettingError("there are no photographs to train on")
        self.num_pictures, self.device = len(pictures), torch.device(device)
        # picture by picture, since the bytes of all would double what is in memory
        self.fingerprint = digest(*(_content(picture) for picture in pictures))[:16]
        sides = [_scaled_sides(picture) for picture in pictures]
        self._sides = np.array([size for scaled in sides for size in scaled], np.int64)
        areas = self._sides.prod(1)
        ends = np.cumsum(areas)
        self._pixels = _room_for(int(ends[-1]), pictures[0].shape[2], self.device)
        self._fill(pictures, sides)
        at_full_size = [picture.shape[0] * picture.shape[1] for picture in pictures]
        self._weights = np.repeat(at_full_size, len(SCALES)) * np.tile(SHARES, len(pictures))
        self._starts, self._heights, self._widths = (
            torch.from_numpy(values).to(self.device)
            for values in (ends - areas, *self._sides.T.copy())
        )
        self._drawable: dict[int, tuple[Tensor, Tensor]] = {}

    def _fill(
        self, pictures: Sequence[np.ndarray], sides: Sequence[Sequence[tuple[int, int]]]
    ) -> None:
        """Copy each picture at each of its scaled sides, one after the other."""
        start = 0
        for picture, scaled in zip(pictures, sides):
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

    @property
    def has_saliency(self) -> bool:
        """Whether crops carry saliency as a fourth channel."""
        return self._pixels.shape[1] == 4

    @property
    def largest_side(self) -> int:
        """Side in pixels of the largest crop that at least one photograph can give."""
        return int(self._sides.min(1).max())

    def crops(self, count: int, side: int) -> Tensor:
        """Draw random crops, half of them mirrored.

        A photograph is drawn with a probability that is proportional to its area, among those that
        can give such a crop at a scale. Its place is drawn evenly. The draws are of torch's
        generator of the device. After a first call with a side, nothing waits for the device.

        Args:
            count: Number of crops.
            side: Side of the square crops in pixels.

        Returns:
            Float (count, C, side, side) in [0, 1], in the memory format channels last.

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
        """The entries that can give crops of a side, and the cumulative probability of each."""
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


def _content(picture: np.ndarray) -> str:
    """Digest of a picture's size and colours."""
    return digest(str(picture.shape[:2]), picture[..., :3].tobytes())


def _scaled_sides(picture: np.ndarray) -> list[tuple[int, int]]:
    """Height and width of a picture at each scale, at least 1."""
    height, width = picture.shape[:2]
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in SCALES]


def _room_for(num_pixels: int, channels: int, device: torch.device) -> Tensor:
    """An empty uint8 tensor (num_pixels, channels).

    Raises:
        SettingError: The device's memory does not hold it.
    """
    try:
        return torch.empty((num_pixels, channels), dtype=torch.uint8, device=device)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise SettingError(
            f"the photographs, {num_pixels * channels / 1e9:.1f} GB at their scales, do not fit "
            f"into the memory of {device}; give fewer"
        ) from error
