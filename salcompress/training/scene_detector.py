"""Synthetic scenes as training batches for torchvision's detectors."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from salcompress.data.scenes import make_scene
from salcompress.image import to_tensor


class SceneTargets(Dataset):
    """Scene ``index`` of a seed, drawn when asked for: no scene is seen twice.

    Items are the image, float (3, H, W) in [0, 1], and its target: ``boxes`` (K, 4) as x0 y0 x1 y1,
    ``labels`` (K,) from 1, ``masks`` (K, H, W) uint8.
    """

    def __init__(self, seed: int, first: int, length: int):
        self.seed, self.first, self.length = seed, first, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        scene = make_scene(self.seed, self.first + index)
        masks = np.zeros((len(scene.objects), *scene.image.shape[:2]), np.uint8)
        boxes = np.zeros((len(scene.objects), 4), np.float32)
        for k, found in enumerate(scene.objects):
            rows, columns = np.nonzero(found.mask)
            masks[k] = found.mask
            boxes[k] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        labels = torch.tensor([found.category_id for found in scene.objects], dtype=torch.int64)
        return to_tensor(scene.image)[0], {
            "boxes": torch.from_numpy(boxes),
            "labels": labels,
            "masks": torch.from_numpy(masks),
        }


def scene_batches(
    seed: int, step: int, num_steps: int, batch_size: int, workers: int
) -> Iterator[list]:
    """Batches from ``step`` to ``num_steps``, each a list of (image, target)."""
    data = SceneTargets(seed, step * batch_size, max(1, num_steps - step) * batch_size)
    return iter(DataLoader(data, batch_size, num_workers=workers, collate_fn=list))
