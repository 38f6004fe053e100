"""A function of tensors that is captured once for each kind of input as a CUDA graph, and then
replayed.

A replay does not launch each kernel anew, which takes most of the time of small batches.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Buffers = dict[str, Tensor]
"""Inputs of the function, by name."""
Results = tuple[Tensor, ...]

MOST_GRAPHS = 16
"""Graphs that one function keeps: of COCO's images, one by one, 99 in 100 are of the 16 most
frequent padded sizes, and in batches of four or more all are.
"""
MOST_BYTES = 4 * 2**30
"""Device memory that the graphs of one function keep, together."""


class Graph(Protocol):
    """A function that was recorded with its buffers."""

    results: Results
    """Where each replay leaves the results."""

    def replay(self) -> None:
        """Compute the results from what the buffers hold now."""


class CudaGraph:
    """A function as a CUDA graph.

    Args:
        function: Nothing in it waits for the device, and it ran before with such buffers.
        pool: The memory that it shares with graphs that never run at the same time.
    """

    def __init__(self, function: Callable[[], Results], pool: Any):
        self._graph = torch.cuda.CUDAGraph()
        # other threads may take memory and copy while this one captures
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self.results = function()

    def replay(self) -> None:
        self._graph.replay()


class _Kept(NamedTuple):
    """A graph and what belongs to it."""

    buffers: Buffers
    graph: Graph
    num_bytes: int
    """Of the buffers."""


class Captured(Generic[Key]):
    """Calls a function, on CUDA by replaying graphs; threads and streams take turns.

    A kind of input runs without a graph when it first comes, since what is made at its first use
    must not be made within a graph; when it comes again it is captured. Graphs that were not used
    for longest are dropped where they are too many, and all of them where they hold too much
    memory; what is too large alone is not captured. Where a capture fails, a line says so, and
    everything runs one kernel at a time from then on; for lack of memory, that kind alone.

    Args:
        function: Gives the results for a key and buffers. All that the key and the shapes of the
            buffers do not say is in the buffers' values. It needs no gradients.
        device: Of the buffers. On CPUs nothing is captured.
        record: What makes a graph in place of :class:`CudaGraph`; None captures on CUDA alone.
        most_graphs, most_bytes: Bounds of what is kept.
    """

    def __init__(
        self,
        function: Callable[[Key, Buffers], Results],
        device: torch.device,
        record: Callable[[Callable[[], Results]], Graph] | None = None,
        most_graphs: int = MOST_GRAPHS,
        most_bytes: int = MOST_BYTES,
    ):
        self._function, self._device, self._record = function, device, record
        self._most_graphs, self._most_bytes = most_graphs, most_bytes
        self._kept: collections.OrderedDict[Key, _Kept] = collections.OrderedDict()
        self._came: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._too_large: set[Key] = set()
        self._lock = threading.Lock()
        self._pool: Any = None
        self._pool_bytes = 0
        self._done: torch.cuda.Event | None = None
        self.captures = device.type == "cuda" or record is not None
        """Whether there are graphs at all."""

    @property
    def num_graphs(self) -> int:
        """How many graphs are kept."""
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Device memory that the kept graphs and their buffers hold."""
        return self._pool_bytes + sum(kept.num_bytes for kept in self._kept.values())

    @contextlib.contextmanager
    def __call__(
        self, key: Key, allocate: Callable[[], Buffers], fill: Callable[[Buffers], None]
    ) -> Iterator[Results]:
        """Within, the results stand; what is needed of them longer is copied there.

        Args:
            key: The kind of input, which gives the buffers' shapes.
            allocate: Makes buffers, when there are none.
            fill: Puts the input into them, without waiting for the device.
        """
        if not self.captures:
            with torch.inference_mode(False), torch.no_grad():
                buffers = allocate()
                fill(buffers)
                yield self._function(key, buffers)
            return
        with self._lock, self._in_turn(), torch.inference_mode(False), torch.no_grad():
            kept = self._kept.get(key)
            buffers = allocate() if kept is None else kept.buffers
            fill(buffers)
            # another thread may have failed meanwhile
            if kept is None and key in self._came and key not in self._too_large and self.captures:
                kept = self._capture(key, buffers)
            if kept is None:
                self._remember(key)
                yield self._function(key, buffers)
                return
            self._kept.move_to_end(key)
            kept.graph.replay()
            yield kept.graph.results

    def _capture(self, key: Key, buffers: Buffers) -> _Kept | None:
        """Make a graph of the function, without results yet; None where there is none."""
        if len(self._kept) >= self._most_graphs:
            self._wait()
            self._kept.popitem(last=False)
        try:
            graph = self._graph(lambda: self._function(key, buffers))
        except RuntimeError as error:
            kind = "of one kind " if _is_out_of_memory(error) else ""
            print(
                f"batches {kind}run without CUDA graphs: capturing one failed: "
                f"{' '.join(str(error).split())[:200]}",
                flush=True,
            )
            self._drop_all()
            self._too_large.add(key)
            self.captures = bool(kind)
            return None
        kept = _Kept(buffers, graph, _num_bytes(buffers.values()))
        self._pool_bytes = self._measured_pool()
        if self.num_bytes + kept.num_bytes > self._most_bytes:
            if not self._kept:
                self._too_large.add(key)
            # graphs share their memory, so it is free when the last of them is; this one is
            # captured when it comes again
            self._drop_all()
            return None
        self._kept[key] = kept
        return kept

    def _graph(self, function: Callable[[], Results]) -> Graph:
        if self._record is not None:
            return self._record(function)
        with torch.cuda.device(self._device):
            self._warm_up(function)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            return CudaGraph(function, self._pool)

    def _warm_up(self, function: Callable[[], Results]) -> None:
        """Run once on a stream of its own, as capturing needs it."""
        stream, current = torch.cuda.Stream(self._device), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            function()
        current.wait_stream(stream)

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Within, the current stream comes after all others that used the buffers."""
        if self._device.type != "cuda":
            yield
            return
        stream = torch.cuda.current_stream(self._device)
        if self._done is None:
            self._done = torch.cuda.Event()
        else:
            stream.wait_event(self._done)
        try:
            yield
        finally:
            self._done.record(stream)

    def _remember(self, key: Key) -> None:
        """Keys that came, the latest; a key that is rare is not captured."""
        self._came[key] = None
        self._came.move_to_end(key)
        if len(self._came) > 4 * self._most_graphs:
            self._came.popitem(last=False)

    def _drop_all(self) -> None:
        self._wait()
        self._kept.clear()
        self._pool, self._pool_bytes = None, 0

    def _wait(self) -> None:
        """Wait until no graph runs; what runs must not be dropped."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _measured_pool(self) -> int:
        """Bytes of the memory that the graphs share; none of it is given back while one is kept."""
        if self._pool is None:
            return 0
        return sum(
            segment["total_size"]
            for segment in torch.cuda.memory_snapshot()
            if tuple(segment.get("segment_pool_id", ())) == tuple(self._pool)
        )


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is of too little memory.

    An error that ends a capture is followed by another one when the capture is closed.
    """
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error is not None
