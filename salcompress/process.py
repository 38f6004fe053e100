"""This process on its machine: what it has taken, when it ends, and what the machine is called."""

import contextlib
import ctypes
import multiprocessing
import os
import platform
import resource
import threading
from pathlib import Path


def peak_mib() -> float:
    """Largest resident memory that this process has had. Where /proc is missing, a child's figure
    may be that of its parent.
    """
    peak = process_mib("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if peak is None else peak


def process_mib(entry: str, process: int | str = "self") -> float | None:
    """An entry of /proc/PROCESS/status that counts memory, such as VmHWM or RssAnon, in MiB; None
    where there is none.
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
    """End this worker process when the one that started it ends. A parent that is killed closes no
    queue, and its workers would wait for ever.
    """

    def watch() -> None:
        multiprocessing.parent_process().join()
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


def cpu_name() -> str:
    """Model of the processor."""
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
