"""Stored data sets as images, and the check of one."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from salcompress.codecs import load_codec
from salcompress.codecs.base import Codec
from salcompress.codecs.compressai import CompressaiCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.data.shards import read_shard, rebuild_index
from salcompress.data.sources import check_name
from salcompress.data.storage import Storage, open_storage
from salcompress.data.stored import Manifest, StoredStreams, complete, read_manifest
from salcompress.errors import BitstreamError, DataError, ModelMismatchError, SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.spec import parse_spec
from salcompress.workers import map_in_processes


class StoredImages:
    """A stored data set as a map-style data set of torch: image k is ``dataset[k]``.

    It may be used in loader workers, forked or spawned. What encoded is not needed, but for the
    weights of a learned codec, which are found by themselves where they have a name (see
    :mod:`salcompress.codecs.salient.known_weights`). Standard formats decode with any version of
    their library.

    Args:
        location: A complete stored data set: a folder, or an address such as s3://bucket/folder.
        device: Where a learned codec decodes; None takes CUDA where there is one, but not in
            loader workers.
        codec: Decodes in place of the one that the manifest names: for weights of your own, as
            ``load_codec("salient:weights=FILE")``.

    Attributes:
        streams: The :class:`~salcompress.data.stored.StoredStreams`.
        codec: What decodes.

    Raises:
        SettingError: The folder holds no stored data set, or one that is not complete.
        DataError: Its manifest is damaged.
        ModelMismatchError: The streams are of weights that are not at hand, or of another version
            of a codec that is no standard format.
    """

    def __init__(
        self,
        location: Path | str | Storage,
        device: str | None = None,
        codec: Codec | None = None,
    ):
        self.streams = StoredStreams(location)
        self.codec = _fitting(codec or _decoder(self.streams.manifest, device), self.streams)

    @property
    def is_learned(self) -> bool:
        """Whether the learned codec made the streams."""
        return self.streams.manifest.model is not None

    def __len__(self) -> int:
        return len(self.streams)

    def __getitem__(self, k: int) -> np.ndarray:
        """Image k, uint8 (H, W, 3), RGB.

        Raises:
            DataError: The shard cannot be read.
            BitstreamError: The stream is damaged.
        """
        return self.codec.decode(self.streams.stream(k))


def _decoder(manifest: Manifest, device: str | None) -> Codec:
    name = parse_spec(manifest.codec).name
    if name == SalientCodec.name:  # which decodes without what steered it
        return SalientCodec(saliency="uniform", device=device)
    return load_codec(manifest.codec if name == CompressaiCodec.name else name)


def _fitting(codec: Codec, streams: StoredStreams) -> Codec:
    """The codec, or the learned one with the weights that made the streams.

    Raises:
        ModelMismatchError: Neither decodes them.
        DataError: The manifest is damaged.
    """
    manifest, label = streams.manifest, streams.storage.label
    if isinstance(codec, SalientCodec):
        if manifest.model is None:
            raise ModelMismatchError(
                f"the streams of {label} are of {manifest.codec}, and the codec that is to decode "
                "them is the learned one, salient; give none, or one of their kind"
            )
        try:
            return codec.decoder_of(bytes.fromhex(manifest.model))
        except ModelMismatchError as error:
            raise ModelMismatchError(f"{label}: {error}") from error
        except ValueError as error:
            raise DataError(
                f"{label}/manifest.json is damaged: model {manifest.model!r} is no fingerprint"
            ) from error
    if isinstance(codec, CompressaiCodec) and codec.fingerprint != manifest.fingerprint:
        raise ModelMismatchError(
            f"{label} was made by {manifest.codec} with fingerprint {manifest.fingerprint}, and "
            f"here that codec has {codec.fingerprint}; install what it was made with"
        )
    return codec


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
        overwrite: Write files anew that are there already.
        on_image: Called with the number of images that are done.

    Raises:
        SettingError: Nothing was done: files are there already and ``overwrite`` was not asked for,
            or a name leaves the folder.
        DataError: A shard cannot be read, or a worker process died.
        BitstreamError: A stream is damaged.
        OutputError: A picture cannot be written.
    """
    for image in images.streams:
        check_name(image.file_name)
    paths = [out / f"{image.file_name}.png" for image in images.streams]
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise SettingError(
            f"{len(there)} of {len(paths)} images exist already, such as {there[0]}; give "
            "--overwrite to write them anew, or choose another folder"
        )
    function = functools.partial(_write_picture, images, paths)
    with map_in_processes(function, range(len(paths)), workers) as written:
        for num_done, _ in enumerate(written, start=1):
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
    codec: Codec | None = None,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Verification:
    """Compare every stream with its checksum, and decode some.

    Args:
        location: As of :class:`StoredImages`.
        num_decoded: How many streams are decoded, evenly spread; None decodes all.
        rebuild_indices: First make indices again that are missing or damaged.
        codec: As of :class:`StoredImages`.
        on_image: Called with the number of streams that are checked.

    Raises:
        SettingError: The folder holds no stored data set, or one that is not complete.
        DataError: An index is missing or damaged, and is not to be rebuilt; or its shard is, too.
    """
    storage = open_storage(location)
    if rebuild_indices:
        _rebuild_indices(storage)
    images = StoredImages(storage, codec=codec)
    count = len(images) if num_decoded is None else min(num_decoded, len(images))
    decodes = set(np.linspace(0, len(images) - 1, count, dtype=int).tolist())
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
            message, name = str(error), image.file_name
            problems.append(message if name in message else f"{name}: {message}")
        on_image(k + 1)
    return Verification(len(images), decoded, tuple(problems))


def _rebuild_indices(storage: Storage) -> None:
    manifest = read_manifest(storage)
    for number in range(manifest.num_shards):
        try:
            read_shard(storage, number)
        except DataError:
            rebuild_index(storage, number, manifest.numbers(number))
    complete(storage, manifest)
