"""Networks compiled for a GPU: chains of small operations become single kernels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_LEAST_SHARE = 0.1
"""A gradient of less than this share of its usual size counts as lost."""


class Compiled:
    """A network that is compiled at its first call, once for each shape of its arguments.

    What it computes and its parameters are those of the network, up to the order of roundings.
    Compiling the codec takes about a minute on a server's processors. Where it fails, a line says
    so, and the network runs as it stands.

    Args:
        network: The network. A compiler must be able to trace it without a break.
        backend: The compiler, by its name for ``torch.compile``.
    """

    def __init__(self, network: nn.Module, backend: str = "inductor"):
        self._network = network
        self._call: Any = torch.compile(network, backend=backend, dynamic=False, fullgraph=True)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self._call is self._network:
                raise
            self.give_up(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return self._network(*arguments)

    def give_up(self, reason: str) -> None:
        """Run the network as it stands from now on, and say why."""
        print(f"networks run as they stand: compiling them failed: {reason}", flush=True)
        self._call = self._network


def check_gradients(
    network: nn.Module, compiled: Compiled, loss_of: Callable[[Callable[..., Any]], Tensor]
) -> None:
    """Give a compiled network up if it loses gradients.

    A compiler may drop the gradient of an operation without a word: torch 2.11 did, and a training
    then moved half of the networks. The sizes of the gradients are therefore compared once, before
    the first step. Their values may differ, since a compiler draws other random numbers.

    Args:
        network: The networks in training. Their gradients are cleared.
        compiled: The same, compiled.
        loss_of: The loss of a batch by one of the two, a scalar with gradients.
    """
    sizes = []
    for call in (network, compiled):
        network.zero_grad()
        loss_of(call).backward()
        sizes.append(
            {
                name: 0.0 if value.grad is None else float(value.grad.norm())
                for name, value in network.named_parameters()
            }
        )
    network.zero_grad()
    usual, found = sizes
    lost = [name for name, size in usual.items() if not found[name] >= _LEAST_SHARE * size]
    if lost:
        compiled.give_up(f"{len(lost)} of {len(usual)} gradients were lost, of {lost[0]} first")
