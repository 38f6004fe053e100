"""Streams to image files."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from salcompress.codecs.base import Codec
from salcompress.codecs.stream_files.inputs import InputFile, output_paths
from salcompress.codecs.stream_files.outcome import Failures, Outcome
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.files import read_file, write_atomically
from salcompress.image import encode_image
from salcompress.workers import map_in_processes


class _Task(NamedTuple):
    """One stream to decode."""

    path: Path
    image: Path


def decode_files(
    files: Sequence[InputFile],
    codec: Codec,
    out: Path,
    *,
    keep_tree: bool = False,
    overwrite: bool = False,
    workers: int = 0,
) -> Outcome[Path]:
    """Write a PNG for each stream, named after it.

    Args:
        files: The streams.
        codec: A codec with the weights that encoded them, or the learned one where these have a
            name: streams of several weights are then decoded together.
        out: Folder of the images.
        keep_tree: Keep the sub-folders of the folders given.
        overwrite: Write images anew that exist already.
        workers: Processes that decode. 0 decodes here, with all threads.

    Returns:
        The image files that were written.

    Raises:
        SettingError: Nothing was done: two streams would have one image, or images exist and
            ``overwrite`` was not asked for.
        PartlyDoneError: Streams could not be read or decoded; all others were.
        OutputError: ``out`` cannot be written.
    """
    images = output_paths(files, out, ".png", keep_tree)
    there = [image for image in images if image.exists()]
    if there and not overwrite:
        raise SettingError(
            f"{len(there)} of {len(images)} images exist already, such as {there[0]}; give "
            "--overwrite to write them anew, or choose another folder"
        )
    tasks = [_Task(file.path, image) for file, image in zip(files, images)]
    work = functools.partial(_decode_or_error, codec)
    done: list[Path] = []
    failures = Failures("decoded")
    with map_in_processes(work, tasks, workers) as errors:
        for error, task in zip(tqdm(errors, total=len(tasks), unit="image"), tasks):
            if error is None:
                done.append(task.image)
            else:
                failures.add(task.path, error)
    outcome = Outcome(done, [])
    failures.raise_if_any(outcome)
    return outcome


def _decode_or_error(codec: Codec, task: _Task) -> DataError | BitstreamError | None:
    """Why a stream could not be decoded. None means that it was."""
    try:
        image = codec.decode(read_file(task.path))
    except (DataError, BitstreamError) as error:
        return error
    write_atomically(task.image, encode_image(image, "PNG"))
    return None
