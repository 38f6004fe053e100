"""Training steps that are captured once as CUDA graphs and then replayed.

A replay does not launch each kernel anew, which takes most of the time of a small step.
"""

from collections.abc import Callable, Hashable

import torch

_EAGER_STEPS = 3
"""So many steps run before a graph is captured. What is made at its first use, such as the state of
the optimizer, must not be made within a graph.
"""


class CapturedSteps:
    """Performs steps as CUDA graphs, one for each kind of batch.

    Where a capture fails, a line says so, and all later steps run one kernel at a time.

    Args:
        update: Performs a step with a kind of batch, and returns the number of its pixels. Nothing
            in it waits for the device.
        optimizer: The optimizer, whose gradients the step computes.
        device: The CUDA device of all that a step touches.
    """

    def __init__(
        self,
        update: Callable[[Hashable], int],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ):
        self._update, self._optimizer, self._device = update, optimizer, device
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, int]] = {}
        self._eager_steps: dict[Hashable, int] = {}
        self._stream = torch.cuda.Stream(device)
        self._gives_up = False

    def __call__(self, batch: Hashable) -> int:
        with torch.cuda.device(self._device):
            if batch not in self._graphs and not self._gives_up:
                seen = self._eager_steps[batch] = self._eager_steps.get(batch, 0) + 1
                if seen > _EAGER_STEPS:
                    self._capture(batch)
            if batch not in self._graphs:
                return self._aside(batch)
            graph, num_pixels = self._graphs[batch]
            graph.replay()
            return num_pixels

    def _capture(self, batch: Hashable) -> None:
        """Capture a step as a graph, which does not perform it; or give up."""
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad()
        try:
            with torch.cuda.graph(graph):
                num_pixels = self._update(batch)
            self._graphs[batch] = graph, num_pixels
        except RuntimeError as error:
            if _is_of_kind(error, torch.OutOfMemoryError):
                raise torch.OutOfMemoryError(str(error)) from None
            print(
                f"steps of {batch} run without a CUDA graph: capturing one failed: "
                f"{' '.join(str(error).split())[:200]}",
                flush=True,
            )
            self._gives_up = True
            self._optimizer.zero_grad()
            # a capture that broke off may leave the generator marked as captured, and the next draw
            # would be refused
            fresh = torch.Generator(self._device).graphsafe_get_state()
            torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(fresh)

    def _aside(self, batch: Hashable) -> int:
        """Perform a step without a graph, on the stream that what is captured later needs."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            num_pixels = self._update(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return num_pixels


def _is_of_kind(error: BaseException | None, kind: type[Exception]) -> bool:
    """Whether an error, or one that it came from, is of a kind.

    An error that ends a capture is followed by another one when the capture is closed.
    """
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
