"""The training loop, which every network here is trained by."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError
from salcompress.training.averages import Averages
from salcompress.training.cuda_graphs import CapturedSteps
from salcompress.training.log import COUNT, Log
from salcompress.training.settings import TrainSettings
from salcompress.training.state import Progress, read_state, write_state

_MOST_SKIPPED = 50
"""So many steps on end without finite gradients mean that training has diverged."""
_SAVE_SECONDS = 120
"""A state is never older than this."""


class StepResult(NamedTuple):
    """The loss of one batch, and what the log says of it."""

    loss: Tensor
    """The scalar that is minimised."""
    logged: Mapping[str, Tensor]
    """Scalars for the log. A name ends with the unit, as in ``psnr_dB``."""
    num_pixels: int = 0
    """Number of pixels of the pictures in the batch; 0 leaves the speed out of the log."""


class TrainResult(NamedTuple):
    """Where a run of a training stopped."""

    step: int
    """Number of steps over all runs."""
    is_over: bool
    """Whether the schedule has ended, and not only the time of this run."""
    weights: dict[str, Tensor]
    """State dict of the averaged weights, or of the last weights if no average is kept."""


def train(
    model: nn.Module,
    compute: Callable[[Any], StepResult],
    batches: Callable[[int], Iterator[Any]],
    settings: TrainSettings,
    after_step: Callable[[], None] = lambda: None,
    capture: bool = False,
) -> TrainResult:
    """Train with AdamW until the schedule has ended or the time of this run is up.

    Where the checkpoint exists, the run goes on from it, and a line says so. A run that was killed
    ends with the weights of an unbroken one: after each save, a run itself goes on from the rounded
    values that it saved.

    Args:
        model: The networks to train, on their device.
        compute: Gives the loss of a batch.
        batches: Gives the batches from a step on, so that a resumed run sees those that an unbroken
            one would see.
        settings: How to train, for how long, and where the checkpoint lies.
        after_step: Called after each step of the optimizer. It may bring weights back within their
            bounds.
        capture: Whether to capture steps as CUDA graphs, one for each different batch. Batches must
            then be few and hashable, such as the side of the crops, and ``compute`` draws all else
            on the device from torch's generator. Without CUDA, or where a capture fails, steps run
            one kernel at a time.

    Raises:
        SettingError: A number of the settings makes no sense.
        DataError: The checkpoint is damaged, or is of another model, identity or conditions; or
            training has diverged.
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
    log = Log(run.logged, step)
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
            run.check()
            log.print(step, schedule.progress(step, seconds_before + seconds()))
        if step % settings.save_every == 0 or time.monotonic() - saved_at > _SAVE_SECONDS:
            run.save(step, seconds_before + seconds())
            saved_at = time.monotonic()
    run.save(step, seconds_before + seconds())
    return TrainResult(step, schedule.is_over(step, seconds_before + seconds()), run.averaged())


class _Run:
    """A model in training. A CUDA graph can capture :meth:`update`: nothing there waits for the
    device.
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
        """Perform one step of training; returns the number of pixels that it saw."""
        result = self.compute(batch)
        self.optimizer.zero_grad()
        result.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_norm)
        unsound = (~torch.isfinite(norm)).float()
        # the optimizer leaves out such a step, as under a GradScaler: one overflow must not end a
        # night's training
        self.optimizer.found_inf = unsound  # type: ignore[attr-defined]  # AdamW reads it if set
        self.optimizer.step()
        self.skipped_on_end.add_(unsound).mul_(unsound)
        self.after_step()
        self.averages.update(1 - unsound)
        for name, value in {
            "loss": result.loss,
            **result.logged,
            COUNT: torch.ones_like(norm),
        }.items():
            if name not in self.logged:
                self.logged[name] = torch.zeros((), device=self.device)
            self.logged[name].add_(torch.where(unsound > 0, 0.0, value.detach()))
        return result.num_pixels

    def resume(self) -> tuple[int, float]:
        """Bring the model to where training goes on; returns its step and the seconds so far."""
        settings = self.settings
        if settings.checkpoint.exists():
            progress = self._read(settings.checkpoint, settings.allow_changes)
            instead = f"; remove it to begin with {settings.start} anew" if settings.start else ""
            print(
                f"training goes on from {settings.checkpoint}, at step {progress.step}{instead}",
                flush=True,
            )
            return progress.step, progress.seconds
        if settings.start is None:
            return 0, 0.0
        progress = self._read(settings.start, settings.allow_changes or settings.start_may_differ)
        print(f"training begins with {settings.start}, at step {progress.step}", flush=True)
        self.averages.restart()  # the average holds steps at the full rate
        return progress.step, 0.0

    def _read(self, path: Path, allow_changes: bool | Collection[str]) -> Progress:
        settings = self.settings
        progress, changes = read_state(
            path,
            self.model,
            self.optimizer,
            self.averages,
            settings.identity,
            settings.all_conditions(),
            allow_changes,
        )
        if changes:
            print(f"changes since {path} was written: {changes}", flush=True)
        return progress

    def save(self, step: int, seconds: float) -> None:
        """Write the checkpoint, and round the training's own values as the file has them."""
        self.check()
        write_state(
            self.settings.checkpoint,
            self.model,
            self.optimizer,
            self.averages,
            self.settings.identity,
            self.settings.all_conditions(),
            Progress(step, seconds, self.settings.learning_rate),
        )

    def check(self) -> None:
        """Stop a training that has diverged. This waits for the device.

        Raises:
            DataError: The last steps, all of them, had gradients that are not finite.
        """
        skipped = int(self.skipped_on_end)
        if skipped >= _MOST_SKIPPED:
            raise DataError(
                f"{skipped} steps on end had gradients that are not finite; go on from the last "
                "checkpoint with a lower learning rate"
            )

    def averaged(self) -> dict[str, Tensor]:
        """State dict with the averaged weights, as a copy."""
        return {name: value.clone() for name, value in self.averages.state_dict().items()}
