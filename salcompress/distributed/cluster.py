"""A Ray cluster for the time of one call, and what its failures mean."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from salcompress import __version__, errors
from salcompress.errors import DataError, SalcompressError, SettingError
from salcompress.workers import compute_on_one_thread

_ANSWER_S = 5.0
"""Seconds within which a cluster must answer; Ray itself would go on trying for minutes."""
CPUS_PER_ACTOR = 0.25
"""What an actor claims of a core, though it keeps one busy.

Ray Data reads by tasks that claim a whole core, and an evaluation has two pools of actors. Pools
that claimed all cores would leave none for those tasks, which would wait for ever.
"""


class Pool(NamedTuple):
    """How many actors a cluster has room for, and what each claims."""

    size: int
    num_cpus: float
    num_gpus: float


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Join a cluster, or start one on this machine, and leave it at the end.

    Args:
        address: ``local`` starts Ray here. ``auto`` joins the cluster that runs here, and anything
            else is where one is: ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        SettingError: The cluster does not answer, or a node has another version of salcompress, or
            none.
    """
    joins = not ray.is_initialized()
    if joins:
        _check_that_it_answers(address)
        here = {"num_cpus": max(2, os.cpu_count() or 2), "include_dashboard": False}
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(here if address == "local" else {}),
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SettingError(_no_answer(address, error)) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        _check_versions()
        yield
    finally:
        if joins:
            ray.shutdown()


def pool(wants_gpu: bool) -> Pool:
    """One actor for each GPU of the cluster if a GPU is wanted and there is one, else one for each
    core.
    """
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    if wants_gpu and gpus:
        return Pool(gpus, CPUS_PER_ACTOR, 1.0)
    return Pool(max(1, int(there.get("CPU", 1))), CPUS_PER_ACTOR, 0.0)


def work_as_in(folder: str) -> None:
    """Let an actor work on one thread, and in the folder of the process that sent it work, so that
    relative paths mean the same. Where a node lacks that folder, it stays in its own.
    """
    compute_on_one_thread()
    with contextlib.suppress(OSError):
        os.chdir(folder)


def outcome(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row that an actor's work gives, or a row that :func:`rows_of` raises again.

    Ray gives a task's error as text alone, so errors travel as rows.
    """
    try:
        return work()
    except SalcompressError as error:
        return {"error": type(error).__name__, "message": str(error)}


@contextlib.contextmanager
def rows_of(dataset: ray.data.Dataset) -> Iterator[Iterator[dict[str, Any]]]:
    """Within the context, the rows of a pipeline as they come.

    Raises:
        SalcompressError: (while reading) What an actor raised.
        DataError: (while reading) Ray itself failed.
    """
    rows = dataset.iter_rows()
    try:
        yield _checked(rows)
    except RayError as error:
        first_line = next((line for line in str(error).splitlines() if line), "no reason given")
        raise DataError(
            f"a task of the cluster failed ({type(error).__name__}: {first_line}); run the same "
            "command again: it goes on with what is left"
        ) from error


def _checked(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row.get("error"):
            raise getattr(errors, row["error"])(row["message"])
        yield row


def _check_that_it_answers(address: str) -> None:
    place = address.removeprefix("ray://")
    if address in ("local", "auto"):
        return
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise SettingError(
            f"the address of a Ray cluster must be local, auto, HOST:PORT or ray://HOST:PORT, got "
            f"{address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SettingError(_no_answer(address, error)) from error


def _no_answer(address: str, error: Exception) -> str:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return (
        f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, or "
        "take local, which starts one on this machine"
    )


def _version() -> str:
    from salcompress import __version__ as there  # on the node that runs this

    return there


def _check_versions() -> None:
    """Every node must have this version: another one may code other bits."""
    asks = ray.remote(num_cpus=0)(_version)
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    answers = {
        name: asks.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)
        ).remote()
        for name in nodes
    }
    for name, answer in answers.items():
        where = nodes[name]["NodeManagerAddress"]
        try:
            version = ray.get(answer)
        except RayError as error:
            raise SettingError(
                f"node {where} of the cluster cannot import salcompress; install version "
                f"{__version__} there"
            ) from error
        if version != __version__:
            raise SettingError(
                f"node {where} of the cluster has salcompress {version}, and this machine has "
                f"{__version__}; install one version everywhere"
            )
