"""One function over many files, in this process or in several."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from salcompress.errors import DataError, SettingError
from salcompress.process import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """Results of a function, in the order of the tasks.

    Args:
        function: What is called with each task. It can be pickled, and returns the errors that
            should not stop the others.
        tasks: Its arguments.
        workers: How many processes work, with one thread each. 0 calls the function here.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: A worker process died.
    """
    if workers < 0:
        raise SettingError(f"workers must be at least 0, got {workers}")
    if workers == 0:
        yield from map(function, tasks)
        return
    # spawn: a forked process cannot use CUDA, and hangs if torch's threads were running
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _prepare_worker, (function,)
    )
    others, is_over = multiprocessing.active_children(), False
    try:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for task in tasks:
            with _interrupts_blocked():  # in the workers, too, from their first line on
                waiting.append(pool.submit(_call, task))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        is_over = True
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died, perhaps for want of memory; run the same command again with "
            "fewer --workers"
        ) from error
    finally:
        if not is_over:  # what the workers have begun may take a minute each
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Within it, Ctrl-C waits. Processes that are started have it blocked for good."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_function: Callable[[Any], Any]


def _prepare_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    end_with_parent()


def _call(task: Any) -> Any:
    return _function(task)
