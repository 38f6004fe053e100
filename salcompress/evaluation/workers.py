"""Images coded ahead of the detector: here, or in worker processes."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2

from salcompress.codecs.base import Codec
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.round_trip import CodedSettings, code_settings
from salcompress.process import end_with_parent, keep_freed_memory

_AHEAD = 3
"""Tasks that each worker may be ahead of the reader. It bounds the decoded images in memory."""


class CodingTask(NamedTuple):
    """One image, and the settings at which it is to be coded."""

    path: Path
    settings: tuple[int, ...]
    """Positions in the list of codecs."""


@contextlib.contextmanager
def coded_images(
    codecs: Sequence[Codec],
    tasks: Iterable[CodingTask],
    workers: int,
    with_perceptual: bool = True,
) -> Iterator[Iterator[CodedSettings]]:
    """Within the context, the results of the tasks, in order.

    Args:
        codecs: What the settings of a task choose from.
        tasks: The images.
        workers: Processes that work a few tasks ahead of the reader. 0 codes in this process, when
            the reader asks.
        with_perceptual: Measure by the learned metric, too.

    Raises:
        SettingError: ``workers`` is negative, or a codec cannot be sent to another process.
        DataError: (while reading) A worker process died.
    """
    if workers < 0:
        raise SettingError(
            f"workers must be at least 0, got {workers}; 0 codes in the detector's process"
        )
    keep_freed_memory()
    if workers == 0:
        yield (_coded(codecs, task, with_perceptual) for task in tasks)
        return
    check_picklable(codecs)
    # spawn: a forked process cannot use CUDA, and hangs if torch's threads were running
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        _prepare_worker,
        (tuple(codecs), with_perceptual),
    )
    try:
        yield _ahead(pool, tasks, _AHEAD * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_picklable(codecs: Iterable[Codec]) -> None:
    """Refuse codecs that no other process can be given.

    Raises:
        SettingError: A codec cannot be pickled: a lambda or a local function steers it, say.
    """
    for codec in codecs:
        try:
            pickle.dumps(codec)
        except Exception as error:  # pickle raises several kinds, and objects raise their own
            raise SettingError(
                f"codec {codec.label} cannot be sent to worker processes ({error}); use "
                "workers=0, or define its saliency function at the top level of a module"
            ) from error


def _coded(codecs: Sequence[Codec], task: CodingTask, with_perceptual: bool) -> CodedSettings:
    return code_settings([codecs[k] for k in task.settings], task.path, with_perceptual)


def _ahead(
    pool: concurrent.futures.Executor, tasks: Iterable[CodingTask], most: int
) -> Iterator[CodedSettings]:
    waiting: collections.deque[concurrent.futures.Future[CodedSettings]] = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_code_in_worker, task))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(
            "a worker process died (out of memory?); run the same command again with fewer "
            "--workers: it goes on with the images that are left"
        ) from error


_worker_codecs: Sequence[Codec] = ()
_worker_perceptual = True


def _prepare_worker(codecs: Sequence[Codec], with_perceptual: bool) -> None:
    global _worker_codecs, _worker_perceptual
    _worker_codecs, _worker_perceptual = codecs, with_perceptual
    keep_freed_memory()
    cv2.setNumThreads(1)
    # one thread a process for the metric and the learned codec: the detector's process has the
    # other cores
    import torch

    torch.set_num_threads(1)
    # Ctrl-C goes to the parent, which then ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _code_in_worker(task: CodingTask) -> CodedSettings:
    return _coded(_worker_codecs, task, _worker_perceptual)
