"""This process on its machine: how its threads wait, what a fork may do, what memory it has taken,
when it ends, and what the machine is called.

The package runs on Linux, and its tests do. It imports on macOS and Windows, too: what a system
does not have (``/proc``, ``fork``, the modules ``fcntl`` and ``resource``) is asked for late.
"""

import contextlib
import ctypes
import multiprocessing
import os
import platform
import sys
import threading
from pathlib import Path

from salcompress.errors import SettingError

SPIN_COUNT = 1000
"""Turns that an idle thread of GNU's OpenMP waits in a loop before it sleeps. OpenMP's own 300,000
hold a core that another process could use: beside busy neighbours on two cores, encoding an image
of 640x480 took 0.8 to 3.5 s, and 0.22 to 0.24 s with this count.
"""


def let_idle_threads_sleep() -> None:
    """Have OpenMP's idle threads sleep soon, unless the user's environment says how they wait.

    PyTorch's wheels for Linux bring GNU's OpenMP, which reads its environment when it is loaded.
    So this has an effect where it comes before the first ``import torch``. A program that imports
    torch before salcompress sets ``GOMP_SPINCOUNT`` in its environment instead.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def compute_on_one_thread_after_a_fork() -> None:
    """Have torch compute on one thread in every process that is forked from this one.

    A fork copies the calling thread alone. Where OpenMP had already computed on several threads,
    it would wait for the missing ones for ever. Systems without ``fork`` need nothing.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_compute_on_one_thread)


def _compute_on_one_thread() -> None:
    torch = sys.modules.get("torch")
    # a module that is still being imported, by another thread, may not have the function yet
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


def peak_mib() -> float:
    """Largest resident memory that this process has had, in MiB.

    Linux says it in ``/proc``. Elsewhere the figure of a child process may be that of its parent.

    Raises:
        SettingError: The system, such as Windows, has neither ``/proc`` nor ``resource``.
    """
    peak = process_mib("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ModuleNotFoundError:
        raise SettingError(
            f"peak memory cannot be measured on {platform.system()}; use Linux or macOS"
        ) from None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts in bytes


def process_mib(entry: str, process: int | str = "self") -> float | None:
    """A process's memory in MiB, by an entry of ``/proc/PROCESS/status``.

    Args:
        entry: Name of the entry, such as ``VmHWM`` or ``RssAnon``.
        process: Number of the process, or ``self``.

    Returns:
        None where the system, the process or the entry does not exist.
    """
    return next(
        (
            int(line.split()[1]) / 1024
            for line in _lines(f"/proc/{process}/status")
            if line.startswith(f"{entry}:")
        ),
        None,
    )


def end_with_parent() -> None:
    """End this worker process when the one that started it ends.

    A parent that is killed closes no queue, and its workers would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker process has a parent to end with"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Let the C library keep the memory that large arrays give back, for the next ones.

    By default glibc returns it to the system, which must then hand out and clear every page again.
    The learned metric's features of a picture of 640x426 took 63 ms of a core so, and 35 ms with
    this setting. Memory in use never grows beyond its peak by it. Other C libraries are left alone.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


# of glibc's malloc.h; its older versions take no threshold above 2**25 bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def has_quick_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16. Convolutions are then three to four times quicker in
    it, and on other CPUs six to ten times slower.
    """
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def cpu_name() -> str:
    """Model of the processor, as the system calls it."""
    names = (
        line.split(":", 1)[1].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    )
    return next(names, platform.processor() or platform.machine())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # another system, or a process that has ended
        return []
