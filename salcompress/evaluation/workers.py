"""Images coded ahead of the detector: here, or in worker processes."""

import contextlib
import functools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from salcompress.codecs.base import Codec
from salcompress.errors import SettingError
from salcompress.evaluation.round_trip import CodedSettings, code_settings
from salcompress.workers import map_in_processes


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
    if workers > 0:
        check_picklable(codecs)
    function = functools.partial(code_task, tuple(codecs), with_perceptual)
    with map_in_processes(function, tasks, workers) as coded:
        yield coded


def code_task(codecs: Sequence[Codec], with_perceptual: bool, task: CodingTask) -> CodedSettings:
    """Code one image at the settings of a task."""
    return code_settings([codecs[k] for k in task.settings], task.path, with_perceptual)


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
