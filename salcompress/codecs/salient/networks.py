"""The learned codec's networks in this process: loaded once for each weight file, and once on each
device, while a codec uses them.
"""

import contextlib
import copy
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from salcompress.errors import SettingError

if TYPE_CHECKING:
    import torch

    from salcompress.models.compression_model import CompressionModel

# weak, since a training may write, load and drop a weight file at every evaluation
_LOADED: weakref.WeakValueDictionary[tuple[str, int], "CompressionModel"] = (
    weakref.WeakValueDictionary()
)
_FINGERPRINTS: weakref.WeakKeyDictionary["CompressionModel", bytes] = weakref.WeakKeyDictionary()
_ON_DEVICE: weakref.WeakKeyDictionary["CompressionModel", dict[str, "CompressionModel"]] = (
    weakref.WeakKeyDictionary()
)


def load_shared(path: Path) -> tuple["CompressionModel", bytes]:
    """A model on the CPU and its fingerprint, shared by all codecs of one weight file."""
    import torch

    from salcompress.models.compression_model import load_model

    if not path.is_file():
        raise SettingError(f"weights file {path} does not exist")
    key = (str(path.resolve()), path.stat().st_mtime_ns)
    model = _LOADED.get(key)
    if model is None:
        # tensors that are made in a caller's inference mode have no gradients for good, and a
        # search needs them
        with torch.inference_mode(False):
            model, fingerprint = load_model(path)
        _LOADED[key], _FINGERPRINTS[model] = model, fingerprint
    return model, _FINGERPRINTS[model]


def check_device(device: str | None) -> None:
    """Raise unless the codec can compute on a device; None stands for the default one.

    Raises:
        SettingError: It cannot.
    """
    import torch

    if device is None:
        return
    try:
        if torch.empty(0, device=device).device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device {device!r} cannot be used here: {str(error).splitlines()[0]}; device=cpu "
            "always can"
        ) from error


def default_device() -> str:
    """CUDA where there is one; but a data loader's worker, a fork, cannot use it."""
    import torch

    in_loader = torch.utils.data.get_worker_info() is not None
    return "cuda" if torch.cuda.is_available() and not in_loader else "cpu"


def model_on_device(model: "CompressionModel", device: str) -> "CompressionModel":
    """The model on a device, its prior proved exact there; codecs of one weight file share it."""
    import torch

    copies = _ON_DEVICE.setdefault(model, {})
    if device not in copies:
        with torch.inference_mode(False):  # as in loading
            copies[device] = _proved_exact(model, device)
    return copies[device]


def _proved_exact(model: "CompressionModel", device: str) -> "CompressionModel":
    import torch

    moved = copy.deepcopy(model).to(device).to(memory_format=torch.channels_last)
    # loading has compared this answer with that of the machine that trained the prior
    expected = model.prior.known_answer("cpu")
    for carrier in (torch.float32, torch.float64):
        moved.prior.freeze(carrier)
        if moved.prior.known_answer(device) == expected:
            return moved
    raise SettingError(
        f"the prior is not exact on {device}: streams would not decode elsewhere; use device=cpu"
    )


@contextlib.contextmanager
def coding(model: "CompressionModel") -> Iterator["torch.device"]:
    """Within, the networks compute as coding needs it, whatever the caller's training loop has set:
    without gradients, and in full precision. Gives the networks' device.
    """
    import torch

    from salcompress.models.full_precision import full_precision

    device = next(model.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False), full_precision():
        yield device


def rounded_to_bfloat16(device: "torch.device", enabled: bool) -> "torch.autocast":
    """Within, where it is enabled, the transforms compute in bfloat16.

    Nothing that is made within stays, neither weights in a caller's cache nor such of a CUDA graph.
    """
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
