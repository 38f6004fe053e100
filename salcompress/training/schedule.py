"""Schedules of the learning rate, which also say when training is over."""

import math
from typing import NamedTuple, Protocol


class Schedule(Protocol):
    """The schedule of a training that may take several runs."""

    def factor(self, step: int, seconds: float) -> float:
        """Share of the full learning rate, in [0, 1].

        Args:
            step: Number of steps so far, over all runs.
            seconds: Time that this schedule has run, over all runs.
        """

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether training has ended."""

    def progress(self, step: int, seconds: float) -> str:
        """Where training stands, for a line of the log."""


class Stable(NamedTuple):
    """A linear warm-up and then the full rate, for as long as anybody likes.

    With a :class:`Decay` after it this is the schedule of Hu et al., "MiniCPM", 2024
    (https://arxiv.org/abs/2404.06395). No number of steps has to be chosen beforehand. A short
    decay makes finished weights out of any state of the stable phase.
    """

    warm_up: int = 200
    """Number of steps."""

    def factor(self, step: int, seconds: float) -> float:
        return min(1.0, (step + 1) / self.warm_up)

    def is_over(self, step: int, seconds: float) -> bool:
        return False

    def progress(self, step: int, seconds: float) -> str:
        return f"step {step}"


class Decay(NamedTuple):
    """The rate falls linearly to zero, from a stable state to finished weights."""

    minutes: float
    """Length of the decay, over all runs."""

    def factor(self, step: int, seconds: float) -> float:
        return max(0.0, 1 - seconds / (60 * self.minutes))

    def is_over(self, step: int, seconds: float) -> bool:
        return seconds >= 60 * self.minutes

    def progress(self, step: int, seconds: float) -> str:
        return f"step {step}, {100 * min(1.0, seconds / (60 * self.minutes)):.0f} % of the decay"


class Cosine(NamedTuple):
    """A linear warm-up of 2 % of the steps and a cosine to zero, for a training of known length."""

    num_steps: int
    """Length of the whole schedule, over all runs."""

    def factor(self, step: int, seconds: float) -> float:
        warm_up = max(1, self.num_steps // 50)
        return (
            min(1.0, (step + 1) / warm_up)
            * 0.5
            * (1 + math.cos(math.pi * min(1.0, step / self.num_steps)))
        )

    def is_over(self, step: int, seconds: float) -> bool:
        return step >= self.num_steps

    def progress(self, step: int, seconds: float) -> str:
        return f"step {step}/{self.num_steps}"
