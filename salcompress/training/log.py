"""The lines that a training prints."""

import time

from torch import Tensor

COUNT = "batches"
"""Name of the sum that counts the batches that are in the other sums."""


class Log:
    """Prints the means since the line before, and the speed.

    Args:
        sums: Scalars on the device by name, to which each step adds, and :data:`COUNT`. They are
            set to 0 by each line.
        step: Number of steps so far.

    Attributes:
        num_pixels: Number of pixels since the line before. The training adds to it; while it is 0,
            there is no speed in pixels.
    """

    def __init__(self, sums: dict[str, Tensor], step: int):
        self.num_pixels = 0
        self._sums, self._step, self._time = sums, step, time.monotonic()

    def print(self, step: int, progress: str) -> None:
        """Print a line. This waits for the device.

        Args:
            step: Number of steps so far.
            progress: Where the training stands; the line begins with it.
        """
        sums = {name: value.item() for name, value in self._sums.items()}
        for value in self._sums.values():
            value.zero_()
        now = time.monotonic()
        count, seconds = max(sums.pop(COUNT, 0.0), 1.0), now - self._time
        parts = [f"{name} {value / count:.4g}" for name, value in sums.items()]
        if self.num_pixels:
            parts.append(f"{self.num_pixels / seconds / 1e6:.3g} Mpixel/s")
        print(
            f"{progress}  {'  '.join(parts)}  {seconds / (step - self._step):.3g} s/step",
            flush=True,
        )
        self._step, self._time, self.num_pixels = step, now, 0
