"""One function over many tasks, in this process or in several."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import Any, TypeVar

from salcompress.errors import DataError, SettingError
from salcompress.process import end_with_parent, keep_freed_memory

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 3
"""Tasks that each worker may be ahead of the reader. It bounds the results held in memory."""


@contextlib.contextmanager
def map_in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Iterator[Result]]:
    """Within the context, the results of a function, in the order of the tasks.

    Example:
        >>> with map_in_processes(abs, [-1, 2], workers=0) as results:
        ...     print(list(results))
        [1, 2]

    Args:
        function: It is called with each task. It can be pickled, and returns the errors that should
            not stop the others.
        tasks: They are taken as the reader goes on.
        workers: How many processes work, with one thread each. 0 calls the function here, when the
            reader asks.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: (while reading) A worker process died.
    """
    if workers < 0:
        raise SettingError(
            f"workers must be at least 0, got {workers}; 0 does all work in one process"
        )
    keep_freed_memory()
    if workers == 0:
        yield map(function, tasks)
        return
    # spawn: a forked process cannot use CUDA
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _prepare_worker, (function,)
    )
    results = _Ahead(pool, iter(tasks), _AHEAD * workers)
    try:
        yield results
    finally:
        if not results.is_over:  # what the workers have begun may take a minute each
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


class _Ahead(Iterator[Any]):
    """Results in order, of tasks that are handed out a few ahead of the reader."""

    def __init__(self, pool: concurrent.futures.Executor, tasks: Iterator[Any], most: int):
        self._pool, self._tasks, self._most = pool, tasks, most
        self._waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()

    @property
    def is_over(self) -> bool:
        """Whether no worker has anything to do."""
        return not self._waiting

    def __next__(self) -> Any:
        try:
            for task in itertools.islice(self._tasks, self._most - len(self._waiting)):
                with _interrupts_blocked():  # in the workers, too, from their first line on
                    self._waiting.append(self._pool.submit(_call, task))
            if not self._waiting:
                raise StopIteration
            return self._waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died: for want of memory, so that fewer workers would do, or "
                'because a script starts workers outside `if __name__ == "__main__":`; '
                "0 workers do all work in one process"
            ) from error


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Within it, Ctrl-C waits. Processes that are started have it blocked for good."""
    if (
        not hasattr(signal, "pthread_sigmask")  # Windows
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    # the mask is of this thread: where another one gets the signal, Python still interrupts here
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if came and callable(handler):
            handler(*came[0])


def compute_on_one_thread() -> None:
    """Leave the other cores to the other workers, and to the process that reads."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


_function: Callable[[Any], Any]


def _prepare_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    keep_freed_memory()
    compute_on_one_thread()
    end_with_parent()


def _call(task: Any) -> Any:
    return _function(task)
