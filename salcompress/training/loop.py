"""The training loop: one step function, run as it stands or replayed as a CUDA graph, under a
schedule in pieces.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError, SettingError
from salcompress.training.cuda_graphs import CapturedSteps
from salcompress.training.schedule import Decay, Schedule
from salcompress.training.state import Averages, Progress, progress_of, read_state, write_state

_MOST_SKIPPED = 50
_SAVE_SECONDS = 120


class TrainSettings(NamedTuple):
    """How to train, for how long, and where to keep the state."""

    schedule: Schedule
    """Of the learning rate, and when training is over."""
    minutes: float
    """Wall time of this run at the most. A later run goes on."""
    checkpoint: Path
    """Written every ``save_every`` steps and at the end. Training goes on from it where it exists.
    """
    learning_rate: float
    average_decay: float = 0.0
    """Of the exponential moving average of the weights; 0 keeps none."""
    weight_decay: float = 1e-4
    gradient_norm: float = 5.0
    save_every: int = 500
    """Steps; two minutes after a save there is another in any case."""
    log_every: int = 20
    identity: str = ""
    """Of what is trained on what. A checkpoint of another is refused. Steps and minutes may change
    between runs.
    """
    seed: int = 1
    """Each step seeds torch's generators from it and from its own number."""
    start: Path | None = None
    """A checkpoint of the same identity to begin with where ``checkpoint`` does not exist. It is
    not touched.
    """

    def to_finish(self, minutes: float) -> "TrainSettings":
        """Settings of a decay, in so many minutes, from the state of the stable phase that these
        are for, and from its learning rate.

        A decay has a state of its own beside it: one that was killed goes on, also if the stable
        phase has moved on since. Who has its weights removes it.

        Raises:
            SettingError: There is no state of a stable phase yet, or minutes are not positive.
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

    def check(self) -> None:
        """Raises SettingError where a number makes no sense."""
        if (
            not self.minutes >= 0
            or self.save_every < 1
            or self.log_every < 1
            or not self.learning_rate > 0
        ):
            raise SettingError(
                "minutes must be at least 0, save_every and log_every at least 1, and the "
                "learning rate above 0; got "
                f"{self.minutes}, {self.save_every}, {self.log_every} and {self.learning_rate}"
            )


class StepResult(NamedTuple):
    """What a batch gave."""

    loss: Tensor
    """A scalar, minimised."""
    logged: Mapping[str, Tensor]
    """Scalars to print, by name and unit."""
    num_pixels: int = 0
    """Of the pictures in the batch; 0 if nobody counts them."""


class TrainResult(NamedTuple):
    """Where training stopped."""

    step: int
    is_over: bool
    """Whether the schedule has ended, not only the time of this run."""
    weights: dict[str, Tensor]
    """State dict of the averaged weights, or of the last ones if no average is kept."""


def train(
    model: nn.Module,
    compute: Callable[[Any], StepResult],
    batches: Callable[[int], Iterator[Any]],
    settings: TrainSettings,
    after_step: Callable[[], None] = lambda: None,
    capture: bool = False,
) -> TrainResult:
    """Train with AdamW until the schedule has ended or the time of this run is up.

    A run that was killed goes on from its last checkpoint as one would have that was not killed
    then: after each save a run itself goes on from what it saved.

    Args:
        compute: Loss of a batch.
        batches: Batches from a given step on, so that a resumed run sees what an unbroken one
            would.
        after_step: Called after each optimizer step, to bring weights back within their bounds.
        capture: Capture the steps as CUDA graphs, one for each different batch. Batches are then
            few and hashable, such as the side of the crops; all else is drawn on the device by
            ``compute``, from torch's generator. Without CUDA, or where a capture fails, steps run
            as they stand.

    Raises:
        SettingError: A number of the settings makes no sense.
        DataError: The checkpoint is damaged, or of another model or training, or training has
            diverged.
        OutputError: The checkpoint cannot be written. The one before it is kept.
    """
    settings.check()
    run = _Run(model, compute, after_step, settings)
    step, seconds_before = run.resume()
    perform = (
        CapturedSteps(run.update, run.optimizer, run.device)
        if capture and run.device.type == "cuda"
        else run.update
    )
    schedule, started = settings.schedule, time.monotonic()
    saved_at = started
    log = _Log(run, settings, step)
    model.train()

    def seconds() -> float:
        return time.monotonic() - started

    for batch in batches(step):
        if schedule.is_over(step, seconds_before + seconds()) or seconds() > settings.minutes * 60:
            break
        run.set_learning_rate(
            settings.learning_rate * schedule.factor(step, seconds_before + seconds())
        )
        torch.manual_seed(settings.seed * 1_000_003 + step)
        log.num_pixels += perform(batch)
        step += 1
        if step % settings.log_every == 0:
            log.print(step, schedule.progress(step, seconds_before + seconds()))
        if step % settings.save_every == 0 or time.monotonic() - saved_at > _SAVE_SECONDS:
            run.save(step, seconds_before + seconds())
            saved_at = time.monotonic()
    run.save(step, seconds_before + seconds())
    return TrainResult(step, schedule.is_over(step, seconds_before + seconds()), run.averaged())


class _Run:
    """A model in training. Nothing in :meth:`update` waits for the device, so that a CUDA graph can
    capture it.
    """

    def __init__(
        self,
        model: nn.Module,
        compute: Callable[[Any], StepResult],
        after_step: Callable[[], None],
        settings: TrainSettings,
    ):
        self.model, self.compute, self.after_step, self.settings = (
            model,
            compute,
            after_step,
            settings,
        )
        self.parameters = [value for value in model.parameters() if value.requires_grad]
        self.device = self.parameters[0].device
        self.learning_rate = torch.tensor(settings.learning_rate, device=self.device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            self.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        self.averages = Averages(model, settings.average_decay)
        self.skipped_on_end = torch.zeros((), device=self.device)
        self.logged: dict[str, Tensor] = {}

    def set_learning_rate(self, value: float) -> None:
        self.learning_rate.fill_(value)

    def update(self, batch: Any) -> int:
        """One step of training; the number of pixels that it saw."""
        result = self.compute(batch)
        self.optimizer.zero_grad()
        result.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_norm)
        unsound = (~torch.isfinite(norm)).float()
        self.optimizer.found_inf = (
            unsound  # as a GradScaler says it: one overflow must not end a night's training
        )
        self.optimizer.step()
        self.skipped_on_end.add_(unsound).mul_(unsound)
        self.after_step()
        self.averages.update(1 - unsound)
        for name, value in {
            "loss": result.loss,
            **result.logged,
            "batches": torch.ones_like(norm),
        }.items():
            if name not in self.logged:
                self.logged[name] = torch.zeros((), device=self.device)
            self.logged[name].add_(torch.where(unsound > 0, 0.0, value.detach()))
        return result.num_pixels

    def resume(self) -> tuple[int, float]:
        """Step and seconds of the schedule from which training goes on."""
        settings = self.settings
        if settings.checkpoint.exists():
            progress = self._read(settings.checkpoint)
            if settings.start is not None:
                print(
                    f"goes on with {settings.checkpoint}, at step {progress.step}; remove it to "
                    f"begin with {settings.start} anew",
                    flush=True,
                )
            return progress.step, progress.seconds
        if settings.start is None:
            return 0, 0.0
        progress = self._read(settings.start)
        self.averages.restart()  # what the average holds is of the full rate
        return progress.step, 0.0

    def _read(self, path: Path) -> Progress:
        return read_state(path, self.model, self.optimizer, self.averages, self.settings.identity)

    def save(self, step: int, seconds: float) -> None:
        self.check()
        progress = Progress(step, seconds, self.settings.learning_rate)
        write_state(
            self.settings.checkpoint,
            self.model,
            self.optimizer,
            self.averages,
            self.settings.identity,
            progress,
        )

    def check(self) -> None:
        """Raise if training has diverged; this waits for the device."""
        skipped = int(self.skipped_on_end)
        if skipped >= _MOST_SKIPPED:
            raise DataError(
                f"{skipped} steps on end had gradients that are not finite; go on from the last "
                "checkpoint with a lower learning rate"
            )

    def averaged(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.averages.state_dict().items()}


class _Log:
    """A line every so many steps: means since the last one, and the speed."""

    def __init__(self, run: _Run, settings: TrainSettings, step: int):
        self._run, self._settings = run, settings
        self._step, self._time = step, time.monotonic()
        self.num_pixels = 0

    def print(self, step: int, progress: str) -> None:
        sums = {
            name: value.item() for name, value in self._run.logged.items()
        }  # waits for the device
        for value in self._run.logged.values():
            value.zero_()
        self._run.check()
        now = time.monotonic()
        count, seconds = max(sums.pop("batches", 0.0), 1.0), now - self._time
        parts = [f"{name} {value / count:.4g}" for name, value in sums.items()]
        if self.num_pixels:
            parts.append(f"{self.num_pixels / seconds / 1e6:.3g} Mpixel/s")
        print(
            f"{progress}  {'  '.join(parts)}  {seconds / (step - self._step):.3g} s/step",
            flush=True,
        )
        self._step, self._time, self.num_pixels = step, now, 0
