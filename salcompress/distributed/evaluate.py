"""An evaluation whose images are coded and detected by all machines of a Ray cluster."""

import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ray.data

from salcompress.codecs.salient import SalientCodec
from salcompress.detectors import load_detector
from salcompress.distributed.cluster import Pool, outcome, pool, rows_of, work_as_in
from salcompress.errors import SettingError
from salcompress.evaluation.measurement import Conditions, ImageTask, TaskResult, measure_image
from salcompress.evaluation.workers import CodingTask, check_picklable, code_task


class DetectorSource(NamedTuple):
    """How every node makes the same detector."""

    spec: str
    """A specification of :func:`salcompress.detectors.load_detector`."""
    category_ids: tuple[int, ...]
    """The data set's."""
    fingerprint: str
    """What the detector must be known by, so that no node has another version of it."""


class _Coder:
    """An actor that codes images and measures distortion."""

    def __init__(self, conditions: Conditions, folder: str):
        work_as_in(folder)
        self._conditions = conditions

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return outcome(lambda: self._code(row))

    def _code(self, row: dict[str, Any]) -> dict[str, Any]:
        task: ImageTask = pickle.loads(row["task"])
        codecs, perceptual = self._conditions.codecs, self._conditions.with_perceptual
        coded = code_task(codecs, perceptual, CodingTask(task.image.path, task.settings))
        return {"error": "", "message": "", "task": row["task"], "result": pickle.dumps(coded)}


class _Detecting:
    """An actor that detects in decoded pictures."""

    def __init__(self, conditions: Conditions, source: DetectorSource, folder: str):
        work_as_in(folder)
        self._conditions, self._source = conditions, source
        self._detector: Any = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return row if row["error"] else outcome(lambda: self._detect(row))

    def _detect(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._detector is None:  # here, where an error travels as a row
            self._detector = _same_detector(self._source)
        task: ImageTask = pickle.loads(row["task"])
        coded = pickle.loads(row["result"])
        measured = list(measure_image(self._conditions, task, coded, self._detector))
        return {"error": "", "message": "", "task": row["task"], "result": pickle.dumps(measured)}


@contextlib.contextmanager
def measure_on_ray(
    source: DetectorSource, conditions: Conditions, tasks: Sequence[ImageTask]
) -> Iterator[Iterator[TaskResult]]:
    """Measure images on the cluster; give ``functools.partial(measure_on_ray, source)`` to
    :func:`salcompress.evaluation.evaluate.evaluate` as ``measure``, within
    :func:`salcompress.distributed.cluster.cluster`.

    Codecs and detector have a pool of actors each. Images stream through both a few at a time, so
    memory does not grow with their number. A task whose actor or node dies is done by another.
    Every node must reach the images, by a folder that all of them mount. Rows are those of
    workers on one machine, which have one thread, too, digit by digit.

    Raises:
        SettingError: A codec cannot be sent to another process, or a node has another version of
            the detector.
        DataError: (while reading) An image could not be coded, the detector failed, or Ray did.
    """
    check_picklable(conditions.codecs)
    if not tasks:
        yield iter(())
        return
    coders, detectors = _pools(conditions, len(tasks))
    rows = ray.data.from_items(
        [{"task": pickle.dumps(task)} for task in tasks], override_num_blocks=len(tasks)
    )
    coded = rows.map(_Coder, fn_constructor_args=(conditions, os.getcwd()), **_actors(coders))
    measured = coded.map(
        _Detecting, fn_constructor_args=(conditions, source, os.getcwd()), **_actors(detectors)
    )
    with rows_of(measured) as done:
        yield ((pickle.loads(row["task"]), pickle.loads(row["result"])) for row in done)


def _pools(conditions: Conditions, num_tasks: int) -> tuple[Pool, Pool]:
    """One pool for codecs and one for detectors; where there are GPUs, these share them."""
    learned = any(isinstance(codec, SalientCodec) for codec in conditions.codecs)
    coders, detectors = pool(wants_gpu=learned), pool(wants_gpu=True)
    if detectors.num_gpus:
        detectors = detectors._replace(num_gpus=0.5)
        coders = coders._replace(num_gpus=0.5 if coders.num_gpus else 0.0)
    return (
        coders._replace(size=min(coders.size, num_tasks)),
        detectors._replace(size=min(detectors.size, num_tasks)),
    )


def _actors(actors: Pool) -> dict[str, Any]:
    return {
        "compute": ray.data.ActorPoolStrategy(size=actors.size),
        "num_cpus": actors.num_cpus,
        "num_gpus": actors.num_gpus,
    }


def _same_detector(source: DetectorSource) -> Any:
    detector = load_detector(source.spec, source.category_ids)
    if detector.fingerprint != source.fingerprint:
        raise SettingError(
            f"a node of the cluster has another version of the detector {source.spec}: fingerprint "
            f"{detector.fingerprint} there, {source.fingerprint} here; give every node the same "
            "files"
        )
    return detector
