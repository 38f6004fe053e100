"""Whether bfloat16 makes the steps of a training faster on this machine."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

_NUM_TIMED = 2


def bfloat16_is_faster(model: nn.Module, loss_of: Callable[[bool], Tensor]) -> bool:
    """Whether a step of training takes less time under bfloat16 autocast than in float32.

    A CUDA device that computes in bfloat16 is faster with it, so it is not measured. A CPU is
    measured: with AVX-512 BF16 or AMX a step is faster in bfloat16, and many processors without
    them emulate it and take 6 to 10 times as long. The time of a precision is that of its best
    step, after one that warms up. Every training asks here, and one line says what was measured.

    The measurement leaves no trace: weights, buffers such as the running means of batch
    normalisation, and the state of torch's generator are afterwards what they were before.
    Gradients are cleared.

    Args:
        model: The networks in training. Their first parameter tells the device.
        loss_of: Computes the loss of one small batch, a scalar with gradients. Its argument says
            whether to compute under bfloat16 autocast.

    Returns:
        True if bfloat16 is faster.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    kept = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        seconds = {precise: _seconds_of_a_step(loss_of, not precise) for precise in (True, False)}
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), kept):
            buffer.copy_(value)
    model.zero_grad()
    faster = seconds[False] < seconds[True]
    print(
        f"networks compute in {'bfloat16' if faster else 'float32'}: a small step took "
        f"{seconds[False]:.3g} s with bfloat16 and {seconds[True]:.3g} s with float32",
        flush=True,
    )
    return faster


def _seconds_of_a_step(loss_of: Callable[[bool], Tensor], mixed_precision: bool) -> float:
    loss_of(mixed_precision).backward()
    times = []
    for _ in range(_NUM_TIMED):
        started = time.perf_counter()
        loss_of(mixed_precision).backward()
        times.append(time.perf_counter() - started)
    return min(times)
