"""The state of a training in few bytes: four for each weight, so that what a later run needs
travels with the project.

Weights are kept in half precision. Their moving average is kept as its difference from them, in 8
bits of the largest one of its tensor. Of AdamW the second moments are kept, in 8 bits of their
logarithm, five to an octave. First moments are not: ten steps make them anew, and until then steps
are smaller. After a save the training itself goes on from what it saved, so a run that was killed
goes on as an unbroken one would have. Our choice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError, SettingError
from salcompress.files import write_atomically
from salcompress.models.weight_file import read_weight_file, weight_file

_FORMAT = "salcompress training state 1"
_CODES_PER_OCTAVE = 5


class Progress(NamedTuple):
    """Where a training stands."""

    step: int
    seconds: float
    """That its schedule has run."""
    learning_rate: float
    """At full rate."""


class Averages:
    """The exponential moving average of a model's weights. Buffers are taken as they are.

    Args:
        decay: Of the average at the end; at first it is a mean of all steps, since (1 + n) / (10 +
            n) is smaller. 0 keeps no average.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._model = model
        self._weights = [value.detach() for value in model.parameters()]
        self.values = [value.clone() for value in self._weights] if decay else self._weights
        self.count = torch.zeros((), device=self._weights[0].device)

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """After a step, which counts, 1, or was left out, 0. Nothing waits for the device."""
        if self.decay:
            self.count.add_(counts)
            new = (1 - ((1 + self.count) / (10 + self.count)).clamp_(max=self.decay)) * counts
            torch._foreach_mul_(self.values, 1 - new)
            torch._foreach_add_(self.values, torch._foreach_mul(self._weights, new))

    @torch.no_grad()
    def restart(self) -> None:
        """Forget all steps before."""
        self.count.zero_()
        for value, weight in zip(self.values, self._weights):
            value.copy_(weight)

    def state_dict(self) -> dict[str, Tensor]:
        """As the model's, with averages in place of weights."""
        names = [name for name, _ in self._model.named_parameters()]
        return {**self._model.state_dict(), **dict(zip(names, self.values))}


def write_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Averages,
    identity: str,
    progress: Progress,
) -> None:
    """Write a training's state, and bring the training itself to what was written.

    Raises:
        OutputError: The file cannot be written. What was there before is kept.
    """
    state: dict[str, Tensor] = {}
    for (name, value), average in zip(model.named_parameters(), averages.values):
        weight = value.detach().half()
        state[f"weight.{name}"] = weight
        if averages.decay:
            state[f"average.{name}"], state[f"average_scale.{name}"] = _to_eighth(average - weight)
        moments = optimizer.state.get(value, {})
        if "exp_avg_sq" in moments:
            state[f"moment.{name}"], state[f"moment_scale.{name}"] = _to_octaves(
                moments["exp_avg_sq"]
            )
            state[f"steps.{name}"] = moments["step"]
    state |= {f"buffer.{name}": value for name, value in model.named_buffers()}
    state["count"] = averages.count
    about = json.dumps({"format": _FORMAT, "identity": identity, **progress._asdict()})
    write_atomically(path, weight_file(state, about=about))
    _restore(state, model, optimizer, averages)


def read_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Averages,
    identity: str,
) -> Progress:
    """Bring a training to a state, which may come from another device; where that stands.

    Raises:
        DataError: The file is damaged, or of another model or training.
    """
    about, state = _read(path)
    if about["identity"] != identity:
        raise DataError(
            f"checkpoint {path} is of another training ({about['identity'] or 'unnamed'}, now "
            f"{identity or 'unnamed'}); "
            "remove it, or choose another"
        )
    expected = {f"weight.{name}": value.shape for name, value in model.named_parameters()}
    expected |= {f"buffer.{name}": value.shape for name, value in model.named_buffers()}
    if expected != {
        name: value.shape
        for name, value in state.items()
        if name.startswith(("weight.", "buffer."))
    }:
        raise DataError(f"checkpoint {path} does not fit the model; remove it, or choose another")
    _restore(state, model, optimizer, averages)
    return Progress(about["step"], about["seconds"], about["learning_rate"])


def progress_of(path: Path) -> Progress:
    """Where the training of a state stands.

    Raises:
        DataError: The file is damaged.
    """
    about, _ = _read(path)
    return Progress(about["step"], about["seconds"], about["learning_rate"])


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        file = read_weight_file(path, "a training's state")
        about = json.loads(file.metadata["about"])
        found = about["format"]
    except (DataError, SettingError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"checkpoint {path} cannot be resumed ({type(error).__name__}: it is damaged, cut "
            "short or of another program); remove it to start anew"
        ) from error
    if found != _FORMAT:
        raise DataError(
            f"checkpoint {path} cannot be resumed (it is of another version: {found}); remove it "
            "to start anew"
        )
    return about, file.tensors


@torch.no_grad()
def _restore(
    state: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Averages,
) -> None:
    """In place, since captured graphs know the tensors by their addresses."""
    for name, value in model.named_buffers():
        value.copy_(state[f"buffer.{name}"])
    for (name, value), average in zip(model.named_parameters(), averages.values):
        weight = state[f"weight.{name}"].float()
        value.copy_(weight)
        if averages.decay:
            difference = (
                _from_eighth(state[f"average.{name}"], state[f"average_scale.{name}"])
                if f"average.{name}" in state
                else 0
            )
            average.copy_(weight + difference)
        if f"moment.{name}" in state:
            moments = optimizer.state[value]
            for key in ("exp_avg", "exp_avg_sq"):
                if key not in moments:
                    moments[key] = torch.zeros_like(value, memory_format=torch.preserve_format)
            moments["exp_avg"].zero_()
            moments["exp_avg_sq"].copy_(
                _from_octaves(state[f"moment.{name}"], state[f"moment_scale.{name}"])
            )
            steps = state[f"steps.{name}"]
            moments["step"] = (
                moments["step"].copy_(steps)
                if "step" in moments
                else steps.clone().to(value.device)
            )
    averages.count.copy_(state["count"])


def _to_eighth(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values as int8 multiples of a float32 scale, so that the largest is 127."""
    scale = values.abs().amax().float() / 127
    return torch.where(scale > 0, values / scale, 0.0).round().to(torch.int8), scale


def _from_eighth(codes: Tensor, scale: Tensor) -> Tensor:
    return codes.float() * scale


def _to_octaves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of at least 0 as uint8 codes: 255 for the largest, float32, five fewer for half of it,
    and 0 for 0.
    """
    largest = values.amax().float()
    codes = 255 + _CODES_PER_OCTAVE * torch.log2((values / largest).clamp(min=2.0**-60))
    return torch.where(values > 0, codes.round().clamp(1, 255), 0.0).to(torch.uint8), largest


def _from_octaves(codes: Tensor, largest: Tensor) -> Tensor:
    return torch.where(
        codes > 0, torch.exp2((codes.float() - 255) / _CODES_PER_OCTAVE) * largest, 0.0
    )
