"""Photographs in memory, and random crops of them with random quality maps."""
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError
from salcompress.image import IMAGE_ENDINGS, read_image
from salcompress.models.quality_map import CELL, NUM_LEVELS


class CodecBatch(NamedTuple):
    """What one training step sees."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    cell_levels: Tensor
    """Integer (N, 1, S / 64, S / 64)."""
    saliency: Tensor | None
    """(N, 1, S, S) in [0, 1]; None where the images carry none."""


def find_images(folders: Sequence[Path]) -> list[Path]:
    """The files given, and all image files under the folders given, sorted by name within each.

    Raises:
        SettingError: A folder is missing or holds none.
    """
    found = []
    for folder in folders:
        here = [folder] if Path(folder).is_file() else sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
        if not here:
            raise SettingError(f"{folder} holds no images")
        found += here
    return found


def load_images(paths: Sequence[Path], device: torch.device | str, smallest_side: int,
                saliency: Callable[[np.ndarray], np.ndarray] | None = None) -> list[Tensor]:
    """Decode every image once, uint8 (3, H, W) on the device; those with a smaller side are left out.

    Args:
        saliency: Gives a map (H, W) in [0, 1] of an image (H, W, 3); it becomes a fourth channel, 255 where most salient.

    Raises:
        SettingError: None is large enough.
        DataError: One cannot be read.
    """
    pictures = [image for image in map(read_image, paths) if min(image.shape[:2]) >= smallest_side]
    if saliency is not None:
        pictures = [np.dstack([image, np.rint(saliency(image) * 255).astype(np.uint8)]) for image in pictures]
    images = [torch.from_numpy(picture).permute(2, 0, 1).contiguous().to(device) for picture in pictures]
    if not images:
        raise SettingError(f"no image has both sides of at least {smallest_side} pixels")
    return images


def codec_batches(images: Sequence[Tensor], seed: int, step: int, batch_size: int, crop: int) -> Iterator[CodecBatch]:
    """Endless batches from ``step`` on: scaled, cropped and flipped at random, with random levels.

    Half of the crops have one level, half a map of two levels at random cells.

    Args:
        images: uint8 (3, H, W), or (4, H, W) with saliency.
        crop: Side in pixels, a multiple of 64.
    """
    area = torch.tensor([float(image[0].numel()) for image in images])
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.multinomial(area, batch_size, replacement=True, generator=generator)
        crops = [_random_crop(images[int(k)], crop, generator) for k in chosen]
        levels = [_random_levels(crop // CELL, generator) for _ in range(batch_size)]
        batch = torch.stack(crops)
        yield CodecBatch(batch[:, :3], torch.stack(levels).to(batch.device), batch[:, 3:] if batch.shape[1] == 4 else None)
        step += 1


def _random_crop(image: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    def uniform() -> float:
        return torch.rand((), generator=generator).item()

    largest = min(image.shape[1:]) / crop
    scale = min(largest, 2 ** uniform()) if uniform() < 0.5 else 1.0  # half of the crops are scaled down, up to twice
    side = int(crop * scale)
    top, left = (int(uniform() * (size - side + 1)) for size in image.shape[1:])
    part = image[:, top : top + side, left : left + side].float() / 255
    if side != crop:
        part = F.interpolate(part[None], (crop, crop), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    return part.flip(2) if uniform() < 0.5 else part


def _random_levels(cells: int, generator: torch.Generator) -> Tensor:
    two = torch.randint(0, NUM_LEVELS, (2,), generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        return two[0].expand(1, cells, cells)
    return two[torch.randint(0, 2, (1, cells, cells), generator=generator)]
