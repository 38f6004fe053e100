"""This process on its machine: what it has taken, when it ends, and what the machine is called."""

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
