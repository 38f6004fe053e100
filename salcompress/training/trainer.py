"""A plain training loop that survives a kill and keeps a time limit."""
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError
from salcompress.files import write_atomically


_MOST_SKIPPED = 50


class TrainSettings(NamedTuple):
    """How long to train and where to keep the state."""

    num_steps: int
    """Steps of the whole schedule, over all runs."""
    minutes: float
    """Wall time of this run; the schedule is not shortened, a later run goes on."""
    checkpoint: Path
    """Written every ``save_every`` steps and at the end; training resumes from it where it exists."""
    learning_rate: float
    average_decay: float = 0.0
    """Of the exponential moving average of the weights; 0 keeps none."""
    weight_decay: float = 1e-4
    gradient_norm: float = 5.0
    save_every: int = 100
    log_every: int = 20
    identity: str = ""
    """Of what is trained on what; a checkpoint of another is refused. Steps and minutes may change between runs."""


class StepResult(NamedTuple):
    """What a batch gave."""

    loss: Tensor
    """A scalar, minimised."""
    logged: Mapping[str, Tensor]
    """Scalars to print, by name and unit."""


class TrainResult(NamedTuple):
    """Where training stopped."""

    step: int
    """Complete if it is ``num_steps``."""
    weights: dict[str, Tensor]
    """State dict of the averaged weights, or of the last ones if no average is kept."""


def train(
    model: nn.Module,
    compute: Callable[[int, Any], StepResult],
    batches: Callable[[int], Iterator[Any]],
    settings: TrainSettings,
    after_step: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Train with AdamW, a linear warm-up of 2 % of the steps and a cosine to zero.

    Args:
        compute: Loss of a step number and its batch.
        batches: Batches from a given step on, so that a resumed run sees what an unbroken one would.
        after_step: Called after each optimizer step, to bring weights back within their bounds.

    Raises:
        DataError: The checkpoint is damaged, or of another model, or training has diverged.
        OutputError: The checkpoint cannot be written.
    """
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    step, average = _resume(settings, model, optimizer, average)
    started = logged_at = time.monotonic()
    last_logged, skipped = step, 0
    model.train()
    for batch in batches(step):
        if step >= settings.num_steps or time.monotonic() - started > settings.minutes * 60:
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.num_steps)
        result = compute(step, batch)
        optimizer.zero_grad()
        result.loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        if torch.isfinite(norm):  # one overflow must not end a night's training
            optimizer.step()
            after_step()
            skipped = 0
        else:
            skipped += 1
            if skipped == _MOST_SKIPPED:
                raise DataError(f"step {step}: {skipped} steps on end had gradients that are not finite; go on from the last checkpoint "
                                "with a lower learning rate")
        step += 1
        _average(average, model, min(settings.average_decay, (1 + step) / (10 + step)) if settings.average_decay else 0.0)
        if step % settings.log_every == 0:
            now = time.monotonic()
            parts = "  ".join(f"{name} {value.item():.4g}" for name, value in result.logged.items())
            seconds = (now - logged_at) / (step - last_logged)
            logged_at, last_logged = now, step
            print(f"step {step}/{settings.num_steps}  loss {result.loss.item():.4f}  {parts}  {seconds:.3f} s/step", flush=True)
        if step % settings.save_every == 0:
            _save(settings, model, optimizer, step, average)
    _save(settings, model, optimizer, step, average)
    return TrainResult(step, average)


def _schedule(step: int, num_steps: int) -> float:
    warm_up = max(1, num_steps // 50)
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))


@torch.no_grad()
def _average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if decay and value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def _save(settings: TrainSettings, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, average: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "average": average,
                "identity": settings.identity}, buffer)
    write_atomically(settings.checkpoint, buffer.getvalue())


def _resume(
    settings: TrainSettings, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> tuple[int, dict[str, Tensor]]:
    path = settings.checkpoint
    if not Path(path).exists():
        return 0, average
    try:
        state = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, average, identity = state["step"], state["average"], state["identity"]
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise DataError(f"checkpoint {path} cannot be resumed ({type(error).__name__}); remove it to start anew") from error
    if identity != settings.identity:
        raise DataError(f"checkpoint {path} is of another training ({identity or 'unnamed'}, now {settings.identity or 'unnamed'}); "
                        "remove it, or choose another")
    return step, average
