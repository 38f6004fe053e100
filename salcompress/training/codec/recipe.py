"""How the codec is trained: what each step sees, and what it minimises."""

from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, NUM_LEVELS
from salcompress.errors import SettingError
from salcompress.models.lagrangian import Perceptual


class Recipe(NamedTuple):
    """Batches and loss; tools/README.md has what was compared."""

    batch_size: int = 16
    """Of the small crops; of the large ones, as many as have as many pixels."""
    crop: int = 128
    """Side in pixels, a multiple of 64."""
    large_crop: int = 256
    """Of the crops of a decay, and of each ``large_every``-th step before: a multiple of 64."""
    large_every: int = 0
    """0: never before a decay."""
    saliency_weight: float = 0.0
    """Squared errors at the most salient places count 1 plus this as much as at the least. It needs
    saliency.
    """
    perceptual: Perceptual | None = None
    """The metric and its weight."""

    def check(self) -> None:
        """Raises SettingError where a value makes no sense."""
        if self.batch_size < 1 or self.large_every < 0:
            raise SettingError(
                "batch_size must be at least 1 and large_every at least 0, got "
                f"{self.batch_size} and {self.large_every}"
            )
        for name, side in (("crop", self.crop), ("large_crop", self.large_crop)):
            if side < CELL or side % CELL:
                raise SettingError(f"{name} must be a multiple of {CELL} pixels, got {side}")
        if self.saliency_weight < 0 or (self.perceptual is not None and self.perceptual.weight < 0):
            raise SettingError("the weights of saliency and perceptual distance must be at least 0")


class Crops(NamedTuple):
    """What a step draws; steps that draw the same share a CUDA graph."""

    count: int
    side: int


def crops_of(recipe: Recipe, step: int, decays: bool) -> Crops:
    """Of a step, in a decay or before it."""
    large = decays or (recipe.large_every and step % recipe.large_every == 0)
    if not large:
        return Crops(recipe.batch_size, recipe.crop)
    return Crops(
        max(1, recipe.batch_size * recipe.crop**2 // recipe.large_crop**2), recipe.large_crop
    )


def random_levels(count: int, cells: int, device: torch.device) -> Tensor:
    """Quality levels of crops, int64 (count, 1, cells, cells): half of them have one level, half
    two at random cells.

    Drawn by torch's generator of the device; nothing waits for it.
    """
    both = torch.randint(0, NUM_LEVELS, (2, count, 1, 1, 1), device=device)
    first = torch.rand((count, 1, cells, cells), device=device) < 0.5
    uniform = torch.rand((count, 1, 1, 1), device=device) < 0.5
    return torch.where(first | uniform, both[0], both[1])
