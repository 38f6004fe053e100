"""The state of a training in four bytes for each weight, so that it travels with the project.

Weights are kept in half precision. Their moving average is kept as its difference from them, in 8
bits, as multiples of the largest difference of the tensor. AdamW's second moments are kept in 8
bits as logarithms, five codes to an octave. Its first moments are not kept: ten steps make them
anew, and until then steps are smaller. After a save the training itself goes on from the rounded
values. A run that was killed therefore goes on as an unbroken one does. A weight file packs what it
holds: that of a codec of config ``large`` took 2.1 bytes for each weight. Our choice.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from salcompress.errors import DataError, SettingError
from salcompress.files import write_atomically
from salcompress.models.weight_file import read_weight_file, weight_file
from salcompress.training.averages import Averages

_FORMAT = "salcompress training state 1"
_CODES_PER_OCTAVE = 5


class Progress(NamedTuple):
    """Where a training stands."""

    step: int
    """Number of steps so far."""
    seconds: float
    """Time that the schedule has run."""
    learning_rate: float
    """The full rate, of which the schedule takes a share."""


def write_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Averages,
    identity: str,
    conditions: Mapping[str, str],
    progress: Progress,
) -> None:
    """Write a training's state, and bring the training itself to what was written.

    Args:
        identity: What is trained for what.
        conditions: What the steps depend on besides, by name.

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
    about = json.dumps(
        {
            "format": _FORMAT,
            "identity": identity,
            "conditions": dict(conditions),
            **progress._asdict(),
        }
    )
    write_atomically(path, weight_file(state, about=about))
    _restore(state, model, optimizer, averages)


def read_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Averages,
    identity: str,
    conditions: Mapping[str, str],
    allow_changes: bool | Collection[str] = False,
) -> tuple[Progress, str]:
    """Bring a training to a state, which may come from another device.

    Args:
        identity: What is trained for what; that of the state must be the same.
        conditions: What the steps depend on besides, by name; those of the state must be the same,
            unless ``allow_changes`` is set or holds their names.

    Returns:
        Where the training stands, and which conditions have changed, as text, "" if none has.

    Raises:
        DataError: The file is damaged, or is of another model, identity or conditions.
    """
    about, state = _read(path)
    if about["identity"] != identity:
        then, now = _differences(about["identity"], identity)
        raise DataError(
            f"checkpoint {path} is of another training ({then}, now {now}); remove it, or choose "
            "another"
        )
    before = about.get("conditions", {})
    changed = [
        name
        for name in dict.fromkeys([*conditions, *before])
        if before.get(name) != conditions.get(name)
    ]
    changes = ", ".join(
        f"{name} {before.get(name, 'not recorded')} then, {conditions.get(name, 'none')} now"
        for name in changed
    )
    allowed = changed if allow_changes is True else allow_changes or ()
    if not set(changed) <= set(allowed):
        raise DataError(
            f"checkpoint {path} was trained under other conditions ({changes}); give those of "
            "then, remove the checkpoint, choose another, or allow changes (--allow-changes, where "
            "the tool has it)"
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
    return Progress(about["step"], about["seconds"], about["learning_rate"]), changes


def _differences(before: str, after: str) -> tuple[str, str]:
    """Two descriptions, as the parts in which they differ where both have such parts.

    >>> _differences("codec Config(width=8, depth=2)", "codec Config(width=4, depth=2)")
    ('codec Config(width=8', 'codec Config(width=4')
    >>> _differences("", "codec, large"), _differences("codec", "codec, large")
    (('unnamed', 'codec, large'), ('codec', 'codec, large'))
    """
    parts = before.split(", "), after.split(", ")
    then, now = (
        ", ".join(part for part in own if part not in other) for own, other in (parts, parts[::-1])
    )
    return (then, now) if then and now else (before or "unnamed", after or "unnamed")


def progress_of(path: Path) -> Progress:
    """Read where the training of a state stands.

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
    """Copy a state into a training's tensors, whose addresses captured graphs know."""
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
    """Code values as int8 multiples of a float32 scale, so that the largest is 127."""
    scale = values.abs().amax().float() / 127
    return torch.where(scale > 0, values / scale, 0.0).round().to(torch.int8), scale


def _from_eighth(codes: Tensor, scale: Tensor) -> Tensor:
    return codes.float() * scale


def _to_octaves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Code values of at least 0 as uint8: 255 for the largest, five fewer for half of it, 0 for 0.

    Returns:
        The codes, and the largest value, float32.
    """
    largest = values.amax().float()
    codes = 255 + _CODES_PER_OCTAVE * torch.log2((values / largest).clamp(min=2.0**-60))
    return torch.where(values > 0, codes.round().clamp(1, 255), 0.0).to(torch.uint8), largest


def _from_octaves(codes: Tensor, largest: Tensor) -> Tensor:
    return torch.where(
        codes > 0, torch.exp2((codes.float() - 255) / _CODES_PER_OCTAVE) * largest, 0.0
    )
