"""Convolutions whose factors no library rounds, without a switch that another thread would see.

A process may allow libraries to round float32 factors: to TF32 on CUDA, to bfloat16 or TF32 on
CPUs. (``torch.set_float32_matmul_precision`` does, and cuDNN's convolutions are allowed to from the
start.) Coding must not depend on that. The allowances are for whole processes, so coding does not
touch them. It asks for full precision convolution by convolution, and only the thread that codes
does. Our choice.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _ThisThread(threading.local):
    wants_full_precision = False


_this_thread = _ThisThread()


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Within, and in this thread alone, :func:`convolve` and :class:`Conv2d` keep all bits of
    float32 factors. Autocast, where it is on, goes before.
    """
    before = _this_thread.wants_full_precision
    _this_thread.wants_full_precision = True
    try:
        yield
    finally:
        _this_thread.wants_full_precision = before


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``, in full precision where :func:`full_precision` asks for it.

    On CUDA, cuDNN is told so in the call. On CPUs there is no such argument. Where the process
    allows rounding there, the convolution is computed in float64, which nothing rounds. That takes
    twice as long, and the result, rounded to float32, is as good or better.

    Args:
        x: (N, C, H, W).
        weight: (C', C / groups, kernel height, kernel width).
        bias: (C',), or None.
        stride, padding, dilation: Down and across.
        groups: As in ``conv2d``.

    Returns:
        (N, C', H', W').
    """
    device = x.device.type
    if (
        torch.compiler.is_compiling()  # only trainings are compiled, and none asks for it
        or not _this_thread.wants_full_precision
        or x.dtype != torch.float32
        or torch.is_autocast_enabled(device)
    ):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if device == "cuda":
        cudnn = torch.backends.cudnn
        return torch._convolution(
            x,
            weight,
            bias,
            stride,
            padding,
            dilation,
            False,  # not transposed, so there is no output padding
            (0, 0),
            groups,
            cudnn.benchmark,
            cudnn.deterministic,
            cudnn.enabled,
            False,  # no TF32
        )
    if _process_allows_rounding():
        exact = None if bias is None else bias.double()
        return F.conv2d(
            x.double(), weight.double(), exact, stride, padding, dilation, groups
        ).float()
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` by :func:`convolve`; padded with zeros, by a number."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(
            input,
            weight,
            bias,
            self.stride,  # type: ignore[arg-type]  # torch declares them of any length
            self.padding,  # type: ignore[arg-type]
            self.dilation,  # type: ignore[arg-type]
            self.groups,
        )


def _process_allows_rounding() -> bool:
    """Whether this process lets a CPU's library round the factors of a convolution, which may be
    computed as a matrix product.
    """
    if not hasattr(torch.backends, "fp32_precision"):  # torch before 2.9
        return torch.get_float32_matmul_precision() != "highest"
    mkldnn: Any = torch.backends.mkldnn  # whose operations are set when it is imported
    return any(
        operation.fp32_precision not in ("none", "ieee")
        for operation in (mkldnn.conv, mkldnn.matmul)
    )
