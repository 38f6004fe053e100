"""Image files to streams, here or in several processes, in order."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from salcompress.codecs.base import Codec, IdentityCodec
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.files import read_file
from salcompress.image import decode_named_image
from salcompress.process import end_with_parent

_TASKS_A_WORKER = 3
"""Images in work or waiting for each worker: enough to keep it busy, and a bound on memory."""


class EncodedImage(NamedTuple):
    """An image file as a stream."""

    stream: bytes
    height: int
    """Of the image, in pixels."""
    width: int


def encode_file(codec: Codec, path: Path) -> EncodedImage:
    """Read an image file and encode it. The identity codec's stream is the file itself.

    Raises:
        DataError: The file cannot be read, or the codec cannot hold the image. The message names
            the file.
    """
    source = read_file(path)
    image = decode_named_image(source, path)
    try:
        stream = source if isinstance(codec, IdentityCodec) else codec.encode(image)
    except (SettingError, BitstreamError) as error:
        raise DataError(f"{path}: {error}") from error
    return EncodedImage(stream, *image.shape[:2])


@contextlib.contextmanager
def encoded_files(
    codec: Codec, paths: Iterable[Path], workers: int
) -> Iterator[Iterator[EncodedImage | DataError]]:
    """Within the context, the files' streams in order, or why one could not be made.

    Args:
        codec: It is sent to each worker, and must be one that can be pickled.
        paths: Image files. They are taken as the reader goes on, so they may be endless.
        workers: Processes that work ahead of the reader; 0 encodes here, when the reader asks.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: (while reading) A worker process died.
    """
    if workers < 0:
        raise SettingError(f"workers must be at least 0, got {workers}")
    if workers == 0:
        yield (_encode_or_error(codec, path) for path in paths)
        return
    # spawn: a forked process cannot use CUDA, and hangs if torch's threads were running
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _prepare_worker, (codec,)
    )
    try:
        yield _ahead(pool, iter(paths), _TASKS_A_WORKER * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    pool: concurrent.futures.Executor, paths: Iterator[Path], most: int
) -> Iterator[EncodedImage | DataError]:
    waiting: collections.deque[concurrent.futures.Future[EncodedImage | DataError]]
    waiting = collections.deque()
    try:
        waiting.extend(pool.submit(_encode_in_worker, p) for p in itertools.islice(paths, most))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_encode_in_worker, p) for p in itertools.islice(paths, 1))
            yield result
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(
            "a worker process died (out of memory?); run the same command again with fewer "
            "--workers: it goes on with what is left"
        ) from error


def _encode_or_error(codec: Codec, path: Path) -> EncodedImage | DataError:
    try:
        return encode_file(codec, path)
    except DataError as error:
        return error


_worker_codec: Codec


def _prepare_worker(codec: Codec) -> None:
    global _worker_codec
    _worker_codec = codec
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends these
    end_with_parent()


def _encode_in_worker(path: Path) -> EncodedImage | DataError:
    return _encode_or_error(_worker_codec, path)
