"""Image files to streams, here or in several processes, in order."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.networks import default_device
from salcompress.data.storage import Storage
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.image import decode_named_image
from salcompress.workers import map_in_processes

_BATCH_ON_GPU = 16
"""Images that a learned codec takes at once on a GPU. On a CPU a batch saves nothing."""


class EncodedImage(NamedTuple):
    """An image file as a stream."""

    stream: bytes
    height: int
    """Of the image, in pixels."""
    width: int


def encode_images(
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
    """How many images :func:`encode_images` should take at once."""
    if not isinstance(codec, SalientCodec):
        return 1
    return 1 if (codec.device or default_device()).startswith("cpu") else _BATCH_ON_GPU


@contextlib.contextmanager
def encoded_images(
    codec: Codec, images: Storage, names: Iterable[str], workers: int
) -> Iterator[Iterator[EncodedImage | DataError]]:
    """Within the context, the files' streams in order, or why one could not be made.

    Args:
        codec: What encodes. It is sent to each worker, and must be one that can be pickled.
        images: Where the files are.
        names: Which files. They are taken as the reader goes on.
        workers: Processes that work ahead of the reader; 0 encodes here, when the reader asks.

    Raises:
        SettingError: ``workers`` is negative.
        DataError: (while reading) A worker process died.
    """
    names, size = iter(names), batch_size(codec)
    batches = iter(lambda: list(itertools.islice(names, size)), [])
    function = functools.partial(encode_images, codec, images)
    with map_in_processes(function, batches, workers) as encoded:
        yield itertools.chain.from_iterable(encoded)
