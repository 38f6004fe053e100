"""The settings of one run of a training."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from salcompress.errors import SettingError
from salcompress.training.schedule import Decay, Schedule
from salcompress.training.state import progress_of

ALLOW_CHANGES = (
    "go on from a checkpoint that was trained with another batch, crop, seed or other data; a line "
    "says what has changed"
)
"""Help of the option that sets :attr:`TrainSettings.allow_changes`."""


def check_device(device: str) -> None:
    """Raise unless torch can compute on the device of the option ``--device``.

    Raises:
        SettingError: It cannot.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"--device {device} cannot be used here: {reason}") from error


class TrainSettings(NamedTuple):
    """How a model is trained, for how long, and where the state of the training is kept."""

    schedule: Schedule
    """It gives the learning rate of each step and says when training is over."""
    minutes: float
    """This run takes at most this much wall time. A later run goes on."""
    checkpoint: Path
    """The state is written here every ``save_every`` steps and at the end. Where the file exists,
    training goes on from it.
    """
    learning_rate: float
    average_decay: float = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps no average."""
    weight_decay: float = 1e-4
    gradient_norm: float = 5.0
    """Gradients with a larger norm are scaled down to it."""
    save_every: int = 500
    """Number of steps between saves. Two minutes after a save there is another in any case."""
    log_every: int = 20
    """Number of steps between lines of the log."""
    identity: str = ""
    """What is trained for what. A checkpoint of another identity is refused."""
    conditions: Mapping[str, str] = {}
    """What the steps depend on besides, by name: the batch, the crop, the content of the data. The
    training adds the seed. A checkpoint of other conditions is refused, unless ``allow_changes`` is
    set. Steps and minutes are no conditions: they may change between runs.
    """
    allow_changes: bool = False
    """Whether to go on from a checkpoint of other conditions. A line then says what has changed."""
    seed: int = 1
    """Each step seeds torch's generators from this and from its own number."""
    start: Path | None = None
    """A checkpoint to begin with where ``checkpoint`` does not exist. It is not touched."""
    start_may_differ: Collection[str] = ()
    """Names of conditions that may be others than those of ``start``. A line says what changed."""

    def to_finish(self, minutes: float) -> "TrainSettings":
        """The settings of a decay that begins with the state of these settings' stable phase.

        The decay takes the learning rate of the stable phase. It has a state of its own beside that
        of the stable phase. A decay that was killed therefore goes on, also if the stable phase has
        moved on since. Whoever keeps the finished weights removes the decay's state.

        Args:
            minutes: Length of the decay, above 0.

        Raises:
            SettingError: There is no state of a stable phase yet, or ``minutes`` is not positive.
            DataError: The state is damaged.
        """
        if not 0 < minutes < math.inf:
            raise SettingError(f"a decay takes a number of minutes above 0, got {minutes:g}")
        if not Path(self.checkpoint).exists():
            raise SettingError(
                f"{self.checkpoint} does not exist: there is no stable phase to finish; train first"
            )
        return self._replace(
            schedule=Decay(minutes),
            minutes=math.inf,
            start=self.checkpoint,
            checkpoint=self.checkpoint.with_name(self.checkpoint.name + ".decay"),
            learning_rate=progress_of(self.checkpoint).learning_rate,
        )

    def all_conditions(self) -> dict[str, str]:
        """The conditions with the seed, which is one of every training."""
        return {**self.conditions, "seed": str(self.seed)}

    def check(self) -> None:
        """Check the numbers.

        Raises:
            SettingError: A number makes no sense.
        """
        if (
            not self.minutes >= 0
            or self.save_every < 1
            or self.log_every < 1
            or not self.learning_rate > 0
        ):
            raise SettingError(
                "minutes must be at least 0, save_every and log_every at least 1, and the "
                f"learning rate above 0; got {self.minutes}, {self.save_every}, {self.log_every} "
                f"and {self.learning_rate}"
            )
