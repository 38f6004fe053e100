"""Image files to streams, here or in several processes, in order."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec, IdentityCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.networks import default_device
from salcompress.data.storage import Storage
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.image import decode_named_image
from salcompress.process import end_with_parent

_TASKS_A_WORKER = 3
"""Images in work or waiting for each worker: enough to keep it busy, and a bound on memory."""
_BATCH_ON_GPU = 16
"""Images that a learned codec takes at once on a GPU. On a CPU a batch saves nothing."""


class EncodedImage(NamedTuple):
    """An image file as a stream."""

    stream: bytes
    height: int
    """Of the image, in pixels."""
    width: int


def encode_files(
    codec: Codec, images: Storage, names: Sequence[str]
) -> list[EncodedImage | DataError]:
    """Read image files and encode them, a learned codec as one batch.

    The identity codec's stream is the file itself.

    Args:
        images: Where the files are.
        names: Which files.

    Returns:
        For each a stream, or why there is none; that names the file.
    """
    results: dict[str, EncodedImage | DataError] = {}
    pictures: dict[str, np.ndarray] = {}
    for name in names:
        path = f"{images.label}/{name}"
        try:
            source = images.read(name)
            pictures[name] = decode_named_image(source, path)
            if isinstance(codec, IdentityCodec):
                results[name] = EncodedImage(source, *pictures[name].shape[:2])
            elif not isinstance(codec, SalientCodec):
                results[name] = _encoded(codec, pictures[name], path)
        except DataError as error:
            results[name] = error
    left = [name for name in names if name not in results]
    if left:
        assert isinstance(codec, SalientCodec)
        try:
            streams = codec.encode_batch([pictures[name] for name in left])
            for name, stream in zip(left, streams, strict=True):
                results[name] = EncodedImage(stream, *pictures[name].shape[:2])
        except SettingError:  # one of them, which its own call names
            for name in left:
                try:
                    results[name] = _encoded(codec, pictures[name], f"{images.label}/{name}")
                except DataError as error:
                    results[name] = error
    return [results[name] for name in names]


def _encoded(codec: Codec, picture: np.ndarray, path: str) -> EncodedImage:
    try:
        return EncodedImage(codec.encode(picture), *picture.shape[:2])
    except (SettingError, BitstreamError) as error:
        raise DataError(f"{path}: {error}") from error


def batch_size(codec: Codec) -> int:
    """How many images :func:`encode_files` should take at once."""
    if not isinstance(codec, SalientCodec):
        return 1
    return 1 if (codec.device or default_device()).startswith("cpu") else _BATCH_ON_GPU


@contextlib.contextmanager
def encoded_files(
    codec: Codec, images: Storage, names: Iterable[str], workers: int
) -> Iterator[Iterator[EncodedImage | DataError]]:
    """Within the context, the files' streams in order, or why one could not be made.

    Args:
        codec: It is sent to each worker, and must be one that can be pickled.
        images: Where the files are.
        names: Which files. They are taken as the reader goes on.
        workers: Processes that work ahead of the reader; 0 encodes here, when the reader asks.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: (while reading) A worker process died.
    """
    if workers < 0:
        raise SettingError(f"workers must be at least 0, got {workers}")
    names = iter(names)
    batches = iter(lambda: list(itertools.islice(names, batch_size(codec))), [])
    if workers == 0:
        yield itertools.chain.from_iterable(encode_files(codec, images, b) for b in batches)
        return
    # spawn: a forked process cannot use CUDA, and hangs if torch's threads were running
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _prepare_worker, (codec, images)
    )
    try:
        yield _ahead(pool, batches, _TASKS_A_WORKER * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    pool: concurrent.futures.Executor, batches: Iterator[list[str]], most: int
) -> Iterator[EncodedImage | DataError]:
    waiting: collections.deque[concurrent.futures.Future[list[EncodedImage | DataError]]]
    waiting = collections.deque()
    try:
        waiting.extend(pool.submit(_encode_in_worker, b) for b in itertools.islice(batches, most))
        while waiting:
            results = waiting.popleft().result()
            waiting.extend(pool.submit(_encode_in_worker, b) for b in itertools.islice(batches, 1))
            yield from results
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(
            "a worker process died (out of memory?); run the same command again with fewer "
            "--workers: it goes on with what is left"
        ) from error


_of_worker: tuple[Codec, Storage]


def _prepare_worker(codec: Codec, images: Storage) -> None:
    global _of_worker
    _of_worker = codec, images
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends these
    end_with_parent()


def _encode_in_worker(names: list[str]) -> list[EncodedImage | DataError]:
    return encode_files(*_of_worker, names)
