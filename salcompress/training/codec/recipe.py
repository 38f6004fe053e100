"""How the codec is trained: what each step sees, and what it minimises."""

from typing import NamedTuple

import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, NUM_LEVELS
from salcompress.errors import SettingError
from salcompress.models.lagrangian import Perceptual


class Recipe(NamedTuple):
    """The batches and the loss of a training. tools/FIGURES.md tells what was compared."""

    batch_size: int = 16
    """Number of small crops in a batch. A batch of large crops has as many pixels."""
    crop: int = 128
    """Side of the small crops in pixels, a multiple of 64."""
    large_crop: int = 256
    """Side of the large crops in pixels, a multiple of 64. A decay draws large crops alone."""
    large_every: int = 0
    """Before a decay, each so many-th step draws large crops; 0 draws none."""
    saliency_weight: float = 0.0
    """Squared errors at the most salient places count 1 plus this as much as at the least salient
    ones. Above 0 the photographs must carry saliency.
    """
    perceptual: Perceptual | None = None
    """The perceptual metric and its weight in the loss."""

    def conditions(self) -> dict[str, str]:
        """What a checkpoint says of batches and loss."""
        batches = ("batch_size", "crop", "large_crop", "large_every")
        return {name: str(getattr(self, name)) for name in batches} | self.loss_weights()

    def loss_weights(self) -> dict[str, str]:
        """The weights of the loss by name, which a decay may change."""
        return {
            "saliency_weight": f"{self.saliency_weight:g}",
            "perceptual_weight": f"{self.perceptual.weight if self.perceptual else 0:g}",
        }

    def check(self) -> None:
        """Check the values.

        Raises:
            SettingError: A value makes no sense.
        """
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
    """The crops that a step draws. Steps that draw the same share a CUDA graph."""

    num_crops: int
    side: int
    """In pixels."""


def crops_of(recipe: Recipe, step: int, decays: bool) -> Crops:
    """The crops of a step, in a decay or before it."""
    large = decays or (recipe.large_every and step % recipe.large_every == 0)
    if not large:
        return Crops(recipe.batch_size, recipe.crop)
    num_large = recipe.batch_size * recipe.crop**2 // recipe.large_crop**2
    return Crops(max(1, num_large), recipe.large_crop)


def random_levels(count: int, cells: int, device: torch.device) -> Tensor:
    """Random quality levels of crops.

    Half of the crops have one level. The other half have two, each at random cells. The levels
    come from torch's generator of the device, and nothing waits for the device.

    Args:
        count: Number of crops.
        cells: Number of cells along a side of a crop.
        device: Where the levels are drawn.

    Returns:
        int64 (count, 1, cells, cells).
    """
    both = torch.randint(0, NUM_LEVELS, (2, count, 1, 1, 1), device=device)
    first = torch.rand((count, 1, cells, cells), device=device) < 0.5
    uniform = torch.rand((count, 1, 1, 1), device=device) < 0.5
    return torch.where(first | uniform, both[0], both[1])
