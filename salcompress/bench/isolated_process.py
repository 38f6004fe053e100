"""Processes of the bench: each measures on its own, so that its memory is its own."""

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import torch

from salcompress.errors import SettingError
from salcompress.process import end_with_parent, peak_mib, process_mib


@contextlib.contextmanager
def process_of_its_own(what: str) -> Iterator[Callable[..., Any]]:
    """A new process, in which what is yielded calls functions.

    Raises:
        SettingError: It ran out of memory, or was killed, as systems do for want of memory.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), end_with_parent
    ) as pool:

        def run(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result()
            # among them CUDA's, and that of a process that is gone
            except (MemoryError, RuntimeError) as error:
                if type(error) is RuntimeError and "DefaultCPUAllocator" not in str(error):
                    raise
                reason = " ".join(str(error).split())[:200]
                raise SettingError(
                    f"{what}: not enough memory, or its process was ended ({reason}); take "
                    "smaller batches, fewer images per step, or a smaller min-size"
                ) from error

        yield run


def wait_for(device: str) -> None:
    """Wait until all work that was given to a device is done."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def peak_memory(device: str) -> float:
    """Largest memory of this process so far, in MiB: on a GPU what CUDA allocated, on a CPU what
    was resident.
    """
    return peak_mib() if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20


def memory_of_children(inherited: float) -> float:
    """Largest memory in MiB that this process's children have had of their own.

    Args:
        inherited: What each had of this process when it was forked, in MiB.
    """
    processes = [child.pid for child in multiprocessing.active_children() if child.pid]
    peaks = [process_mib("VmHWM", process) or 0.0 for process in processes]
    return sum(max(0.0, peak - inherited) for peak in peaks)
