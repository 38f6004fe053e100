"""Images through codecs, in this process or ahead of the reader in others, with rate, distortion
and time.
"""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from salcompress.codecs.base import Codec, CodingMaps
from salcompress.codecs.cache import CachedCodec
from salcompress.codecs.identity import IdentityCodec
from salcompress.errors import BitstreamError, CorruptError, DataError, SettingError
from salcompress.files import digest, read_file
from salcompress.image import decode_named_image
from salcompress.metrics.psnr_ssim import ms_ssim, psnr
from salcompress.process import end_with_parent


class CodedImage(NamedTuple):
    """An image that went through a codec. None was not measured."""

    decoded: np.ndarray
    """uint8 (H, W, 3), what the detector sees."""
    num_bits: int
    """8 x the length of the whole stream."""
    encode_s: float | None
    """None where nothing was encoded: identity, or a stream out of a cache."""
    decode_s: float | None
    psnr: float | None = None
    ms_ssim: float | None = None
    perceptual: float | None = None
    source_digest: str | None = None
    """Of the file that the image came from."""
    maps: CodingMaps | None = None

    def compared_to(self, original: np.ndarray, with_perceptual: bool = True) -> "CodedImage":
        """The same with its distortion measured, by PSNR, MS-SSIM and, if wanted, the learned
        perceptual metric.
        """
        perceptual = None
        if with_perceptual and np.array_equal(original, self.decoded):
            perceptual = 0.0
        elif with_perceptual:
            from salcompress.metrics.perceptual import perceptual_distance

            perceptual = perceptual_distance(original, self.decoded)
        return self._replace(
            psnr=psnr(original, self.decoded),
            ms_ssim=ms_ssim(original, self.decoded),
            perceptual=perceptual,
        )


def code(
    codec: Codec, image: np.ndarray, source: bytes | None = None, with_maps: bool = False
) -> CodedImage:
    """Encode an image, decode the stream, and take the time of both.

    Args:
        image: uint8 (H, W, 3).
        source: The file that the image came from, if it did: the stream of the identity codec,
            which is neither encoded nor decoded, so that its times are None.
        with_maps: Also say where the bits went, if the codec knows; not in the times.

    Raises:
        SettingError: The codec cannot hold the image.
        BitstreamError: The codec cannot decode what it made.
    """
    if isinstance(codec, IdentityCodec):
        return CodedImage(
            image, 8 * len(codec.encode(image) if source is None else source), None, None
        )
    started = time.perf_counter()
    stream = codec.encode(image)
    encoded = time.perf_counter()
    decoded = codec.decode(stream)
    finished = time.perf_counter()
    if decoded.shape != image.shape:
        raise CorruptError(
            f"codec {codec.name} gave back an image of shape {decoded.shape}, not {image.shape}"
        )
    encode_s = codec.encode_s if isinstance(codec, CachedCodec) else encoded - started
    return CodedImage(
        decoded,
        8 * len(stream),
        encode_s,
        finished - encoded,
        maps=codec.maps(image, stream) if with_maps else None,
    )


def code_image(codec: Codec, path: Path | str, with_perceptual: bool = True) -> CodedImage:
    """Read an image, code it, and measure rate, distortion and time.

    Args:
        with_perceptual: By the learned metric, too.

    Raises:
        DataError: The image cannot be read, or the codec cannot hold it; the message names the
            file.
    """
    source = read_file(path)
    original = decode_named_image(source, path)
    try:
        return (
            code(codec, original, source, with_maps=True)
            .compared_to(original, with_perceptual)
            ._replace(source_digest=digest(source)[:16])
        )
    except (SettingError, BitstreamError) as error:
        raise DataError(f"{path}: {error}") from error


@contextlib.contextmanager
def coded_images(
    codecs: Sequence[Codec],
    tasks: Iterable[tuple[int, Path]],
    workers: int,
    with_perceptual: bool = True,
) -> Iterator[Iterator[CodedImage | DataError]]:
    """Within the context, the tasks' results in order: an image, or why it could not be coded.

    Args:
        codecs: What a task's first number chooses from.
        tasks: Codec number and image path.
        workers: Processes that work a few tasks ahead of the reader; 0 codes here, when the reader
            asks.
        with_perceptual: As of :func:`code_image`.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: (while reading) A worker process died.
    """
    if workers < 0:
        raise SettingError(f"workers must be at least 0, got {workers}")
    if workers == 0:
        yield (_code_or_error(codecs[k], path, with_perceptual) for k, path in tasks)
        return
    # spawn: a forked process cannot use CUDA, and hangs if torch's threads were running
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _prepare_worker, (codecs, with_perceptual)
    )
    try:
        yield _ahead(pool, tasks, 3 * workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    pool: concurrent.futures.Executor, tasks: Iterable[tuple[int, Path]], most: int
) -> Iterator[CodedImage | DataError]:
    waiting = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_code_in_worker, task))
            if len(waiting) >= most:  # bounds the decoded images held in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise DataError(
            "a worker process died (out of memory?); run the same command again with fewer "
            "--workers: "
            "it goes on with the images that are left"
        ) from error


def _code_or_error(codec: Codec, path: Path, with_perceptual: bool) -> CodedImage | DataError:
    try:
        return code_image(codec, path, with_perceptual)
    except DataError as error:
        return error


_worker_codecs: Sequence[Codec] = ()
_worker_perceptual = True


def _prepare_worker(codecs: Sequence[Codec], with_perceptual: bool) -> None:
    global _worker_codecs, _worker_perceptual
    _worker_codecs, _worker_perceptual = codecs, with_perceptual
    cv2.setNumThreads(1)
    # the metric's, and the learned codec's: a thread a process, as the detector's process has the
    # other cores
    import torch

    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the parent, which then ends its workers
    end_with_parent()


def _code_in_worker(task: tuple[int, Path]) -> CodedImage | DataError:
    return _code_or_error(_worker_codecs[task[0]], task[1], _worker_perceptual)
