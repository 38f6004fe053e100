"""Tensors between the host and a device, without waiting for the device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def on_its_way(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host, where copying them to a device does not wait for it."""
    return values.pin_memory() if device.type == "cuda" else values


def to_host(values: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to bring copies of tensors to the host; a call of what is returned waits for them."""
    if values[0].device.type != "cuda":
        copies = [value.clone() for value in values]
        return lambda: copies
    arriving = [
        torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
        for value in values
    ]
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(values[0].device))

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return arriving

    return wait
