"""A line that is learned from noise in no time, for laws of any training."""

import itertools
import math

import torch
from torch import nn

from salcompress.training.loop import StepResult, train
from salcompress.training.schedule import Cosine, Stable
from salcompress.training.settings import TrainSettings


def regression(path, num_steps, stop_at=None, average_decay=0.0):
    """Train a line on noise drawn by step number; returns the model, and stops early like a kill
    where asked to.
    """
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def batches(first):
        for step in itertools.count(first):
            if step == stop_at:
                raise KeyboardInterrupt
            yield torch.randn(16, 3, generator=torch.Generator().manual_seed(step))

    def compute(x):
        error = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return StepResult(error, {"error": error})

    settings = TrainSettings(
        Cosine(num_steps), math.inf, path, 0.2, average_decay=average_decay, save_every=10
    )
    try:
        return model, train(model, compute, batches, settings).step
    except KeyboardInterrupt:
        return model, None


def stable_training(path, steps, **changes):
    """A line learned from noise in the stable phase, in so many more steps."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def compute(x):
        error = (model(x) - x.sum(1, keepdim=True) - 0.1 * torch.randn(len(x), 1)).square().mean()
        return StepResult(error, {"error": error}, num_pixels=x.numel())

    def batches(first):
        return (
            torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
            for step in range(first, first + steps)
        )

    settings = TrainSettings(
        Stable(5), math.inf, path, 0.2, average_decay=0.9, save_every=10, log_every=10
    )._replace(**changes)
    return model, compute, batches, settings
