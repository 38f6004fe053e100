"""Stored data sets as images, and the check of one."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from salcompress.codecs import load_codec
from salcompress.data.shards import rebuild_index
from salcompress.data.storage import Storage, open_storage
from salcompress.data.stored import StoredStreams, complete, read_manifest
from salcompress.errors import BitstreamError, DataError, ModelMismatchError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.workers import map_in_processes


class StoredImages:
    """A stored data set as a map-style data set of torch: image k is ``dataset[k]``.

    It may be used in loader workers, forked or spawned.

    Args:
        location: A complete stored data set: a folder, or an address such as s3://bucket/folder.
        device: Where a learned codec decodes; None takes CUDA where there is one, but not in
            loader workers.

    Attributes:
        streams: The :class:`~salcompress.data.stored.StoredStreams`.
        codec: What decodes.

    Raises:
        SettingError: The folder holds no stored data set, or one that is not complete.
        DataError: Its manifest is damaged.
        ModelMismatchError: The codec of the manifest has other weights here, or another version.
    """

    def __init__(self, location: Path | str | Storage, device: str | None = None):
        self.streams = StoredStreams(location)
        manifest = self.streams.manifest
        self.codec = load_codec(_on_device(manifest.codec, device))
        if self.codec.fingerprint != manifest.fingerprint:
            raise ModelMismatchError(
                f"{self.streams.storage.label} was made by {manifest.codec} with fingerprint "
                f"{manifest.fingerprint}, and here that codec has {self.codec.fingerprint}; "
                "install what it was made with, or compress again"
            )

    def __len__(self) -> int:
        return len(self.streams)

    def __getitem__(self, k: int) -> np.ndarray:
        """Image k, uint8 (H, W, 3), RGB.

        Raises:
            DataError: The shard cannot be read.
            BitstreamError: The stream is damaged.
        """
        return self.codec.decode(self.streams.stream(k))


def _on_device(spec: str, device: str | None) -> str:
    if device is None or not spec.startswith("salient"):
        return spec
    return f"{spec}{',' if ':' in spec else ':'}device={device}"


def write_pictures(
    images: StoredImages,
    out: Path,
    workers: int = 0,
    overwrite: bool = False,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> list[Path]:
    """Write each image of a stored data set as PNG, under the name it was stored by.

    ``a/x.jpg`` becomes ``a/x.jpg.png``, so that ``x.jpg`` and ``x.png`` stay apart.

    Args:
        images: What is decoded.
        out: Folder of the pictures.
        workers: Processes that decode; 0 decodes here.
        overwrite: Write files anew that are there already. Otherwise they are left alone, so that a
            call that was stopped goes on.
        on_image: Called with the number of images that are done.

    Raises:
        DataError: A shard cannot be read, or a worker process died.
        BitstreamError: A stream is damaged.
        OutputError: A picture cannot be written.
    """
    paths = [out / f"{image.file_name}.png" for image in images.streams]
    missing = [k for k, path in enumerate(paths) if overwrite or not path.exists()]
    num_done = len(paths) - len(missing)
    on_image(num_done)
    function = functools.partial(_write_picture, images, paths)
    with map_in_processes(function, missing, workers) as written:
        for _ in written:
            num_done += 1
            on_image(num_done)
    return paths


def _write_picture(images: StoredImages, paths: list[Path], k: int) -> None:
    write_atomically(paths[k], encode_image(images[k], "PNG"))


class Verification(NamedTuple):
    """What a check of a stored data set found."""

    num_streams: int
    """Whose checksums were compared."""
    num_decoded: int
    problems: tuple[str, ...]
    """A sentence each; none if all is well."""


def verify(
    location: Path | str | Storage,
    num_decoded: int | None = 16,
    rebuild_indices: bool = False,
    device: str | None = None,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Verification:
    """Compare every stream with its checksum, and decode some.

    Args:
        num_decoded: How many streams are decoded, evenly spread; None decodes all.
        rebuild_indices: First make the index of every shard again.
        device: As of :class:`StoredImages`.
        on_image: Called with the number of streams that are checked.

    Raises:
        SettingError: The folder holds no stored data set, or one that is not complete.
        DataError: An index is missing or damaged, and is not to be rebuilt.
    """
    storage = open_storage(location)
    if rebuild_indices:
        manifest = read_manifest(storage)
        for number in range(manifest.num_shards):
            rebuild_index(storage, number, manifest.numbers(number))
        complete(storage, manifest)
    images = StoredImages(storage, device)
    step = 1 if num_decoded is None else max(1, len(images) // max(1, num_decoded))
    decodes = range(0, len(images), step) if num_decoded != 0 else range(0)
    problems, decoded = [], 0
    for k, image in enumerate(images.streams):
        try:
            stream = images.streams.stream(k)
            if k in decodes:
                shape = images.codec.decode(stream).shape[:2]
                decoded += 1
                if shape != (image.height, image.width):
                    problems.append(
                        f"{image.file_name}: decoded to {shape[1]}x{shape[0]} pixels, and the "
                        f"index says {image.width}x{image.height}"
                    )
        except (DataError, BitstreamError) as error:
            message = str(error)
            name = image.file_name
            problems.append(message if name in message else f"{name}: {message}")
        on_image(k + 1)
    return Verification(len(images), decoded, tuple(problems))
