"""The moving average of weights in training."""

import torch
from torch import Tensor, nn


class Averages:
    """The exponential moving average of a model's weights.

    After step n the old average counts (1 + n) / (10 + n), or ``decay`` where that is smaller. At
    first it is therefore nearly a mean of all steps.

    Args:
        model: The model in training.
        decay: What the old average counts in the end; 0 keeps no average.

    Attributes:
        values: The averages, or the weights themselves if there is no average.
        count: Number of steps that the average has seen, a tensor on the model's device.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._model = model
        self._weights = [value.detach() for value in model.parameters()]
        self.values = [value.clone() for value in self._weights] if decay else self._weights
        self.count = torch.zeros((), device=self._weights[0].device)

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Take in the weights after a step. Nothing waits for the device.

        Args:
            counts: 1, or 0 for a step that was left out; a scalar on the device.
        """
        if self.decay:
            self.count.add_(counts)
            new = (1 - ((1 + self.count) / (10 + self.count)).clamp_(max=self.decay)) * counts
            torch._foreach_mul_(self.values, 1 - new)
            torch._foreach_add_(self.values, torch._foreach_mul(self._weights, new))

    @torch.no_grad()
    def restart(self) -> None:
        """Begin a new average with the present weights."""
        self.count.zero_()
        for value, weight in zip(self.values, self._weights):
            value.copy_(weight)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state dict, with averages in place of weights. Buffers are the model's."""
        names = [name for name, _ in self._model.named_parameters()]
        return {**self._model.state_dict(), **dict(zip(names, self.values))}
