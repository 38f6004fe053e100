"""A plain training loop that survives a kill and keeps a time limit."""
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError
from salcompress.files import write_atomically


class TrainSettings(NamedTuple):
    """How long to train and where to keep the state."""

    num_steps: int
    """Steps of the whole schedule, over all sessions."""
    minutes: float
    """Wall time of this session; the schedule is not shortened, a later session goes on."""
    checkpoint: Path
    """Written every ``save_every`` steps and at the end; training resumes from it where it exists."""
    learning_rate: float
    save_every: int = 100
    log_every: int = 20
    gradient_norm: float = 5.0


def train(
    model: nn.Module,
    losses: Callable[[Any], dict[str, Tensor]],
    batches: Callable[[int], Iterator[Any]],
    settings: TrainSettings,
) -> int:
    """Train with AdamW, a linear warm-up of 2 % of the steps and a cosine to zero.

    Args:
        losses: Named losses of a batch, each a scalar; their sum is minimised.
        batches: Batches from a given step on, so that a resumed run sees what an unbroken one would.

    Returns:
        The step reached; training is complete if it is ``settings.num_steps``.

    Raises:
        DataError: The checkpoint is damaged, or of another model.
        OutputError: The checkpoint cannot be written.
    """
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=1e-4)
    warm_up = max(1, settings.num_steps // 50)

    def rate(step: int) -> float:
        progress = min(1.0, step / settings.num_steps)
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())

    step = _resume(settings.checkpoint, model, optimizer)
    started = logged = time.monotonic()
    model.train()
    for batch in batches(step):
        if step >= settings.num_steps or time.monotonic() - started > settings.minutes * 60:
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate(step)
        named = losses(batch)
        total = sum(named.values())
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        optimizer.step()
        step += 1
        if step % settings.log_every == 0:
            now = time.monotonic()
            parts = "  ".join(f"{name} {value.item():.3f}" for name, value in named.items())
            seconds, logged = (now - logged) / settings.log_every, now
            print(f"step {step}/{settings.num_steps}  loss {total.item():.3f}  {parts}  {seconds:.2f} s/step", flush=True)
        if step % settings.save_every == 0:
            _save(settings.checkpoint, model, optimizer, step)
    _save(settings.checkpoint, model, optimizer, step)
    return step


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, buffer)
    write_atomically(path, buffer.getvalue())


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not Path(path).exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state["step"]
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise DataError(f"checkpoint {path} cannot be resumed ({type(error).__name__}); remove it to start anew") from error
