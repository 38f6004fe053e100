"""Data sets of images compressed into shards, checked, and read again."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from salcompress.codecs import load_codec
from salcompress.codecs.base import Codec, IdentityCodec
from salcompress.codecs.encoder_pool import EncodedImage, encoded_files
from salcompress.data.shards import ShardWriter, index_path, rebuild_index
from salcompress.data.stored import (
    Manifest,
    StoredStreams,
    complete,
    images_digest,
    read_manifest,
    write_manifest,
)
from salcompress.errors import BitstreamError, DataError, ModelMismatchError, SettingError

IMAGES_PER_SHARD = 1000
"""Default. A thousand streams of COCO's size are some 20 MB."""
_SUFFIXES = {
    "jpeg": ".jpg",
    "jpeg2000": ".jp2",
    "webp": ".webp",
    "avif": ".avif",
    "png": ".png",
    "salient": ".salc",
    "compressai": ".bin",
}


class Source(NamedTuple):
    """An image that is to be stored."""

    file_name: str
    """The name it is stored under, with ``/`` between folders."""
    path: Path
    problem: str | None = None
    """Why it is known already that it cannot be stored."""


def compress_images(
    sources: Sequence[Source],
    codec: Codec,
    folder: Path,
    workers: int = 1,
    images_per_shard: int = IMAGES_PER_SHARD,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Manifest:
    """Encode images into shards. What an earlier call has finished is not done again.

    Args:
        sources: The images, in the order in which they are stored.
        folder: Where shards, indices and manifest go.
        workers: Processes that encode; 0 encodes in this one.
        images_per_shard: What is lost at most when the process is killed.
        on_image: Called with the number of images that are done, at first with those of before.

    Returns:
        The manifest, with counts and rates. Images that could not be read are listed in
        ``StoredStreams(folder).skipped``.

    Raises:
        SettingError: ``folder`` holds another codec's streams or other images, there is no image,
            or a number is out of range.
        DataError: A worker process died, or a shard of before is damaged.
        OutputError: The disk is full. What is finished stays, and the same call goes on.
    """
    manifest = _begin(sources, codec, folder, images_per_shard)
    if manifest.is_complete:
        on_image(len(sources))
        return manifest
    missing = [n for n in range(manifest.num_shards) if not index_path(folder, n).is_file()]
    shards = {n: sources[n * images_per_shard : (n + 1) * images_per_shard] for n in missing}
    num_done = len(sources) - sum(len(members) for members in shards.values())
    on_image(num_done)
    paths = (s.path for members in shards.values() for s in members if s.problem is None)
    with encoded_files(codec, paths, workers) as encoded:
        for number, members in shards.items():
            writer = ShardWriter(first=number * images_per_shard)
            for source in members:
                _store(writer, source, codec, encoded)
                num_done += 1
                on_image(num_done)
            writer.write(folder, number)
    return complete(folder, manifest)


def _begin(
    sources: Sequence[Source], codec: Codec, folder: Path, images_per_shard: int
) -> Manifest:
    if not sources:
        raise SettingError("there is no image to compress")
    if images_per_shard < 1:
        raise SettingError(f"images_per_shard must be at least 1, got {images_per_shard}")
    wanted = Manifest(
        codec.label,
        codec.fingerprint,
        images_digest(source.file_name for source in sources),
        len(sources),
        images_per_shard,
    )
    if not (folder / "manifest.json").is_file():
        write_manifest(folder, wanted)
        return wanted
    found = read_manifest(folder)
    for what, ours, theirs in (
        ("codec", wanted.codec, found.codec),
        ("number of images", wanted.num_images, found.num_images),
        ("number of images per shard", wanted.images_per_shard, found.images_per_shard),
    ):
        if ours != theirs:
            raise SettingError(
                f"{folder} was begun with another {what}: {theirs} then, {ours} now; choose "
                "another folder, or the same as then"
            )
    if wanted.images != found.images:
        raise SettingError(
            f"{folder} was begun with other images of as large a number; choose another folder"
        )
    if wanted.fingerprint != found.fingerprint:
        raise SettingError(
            f"{folder} was begun with another version of {wanted.codec} (fingerprint "
            f"{found.fingerprint} then, {wanted.fingerprint} now); choose another folder"
        )
    return found


def _store(
    writer: ShardWriter, source: Source, codec: Codec, encoded: Iterator[EncodedImage | DataError]
) -> None:
    result = DataError(source.problem) if source.problem is not None else next(encoded)
    if isinstance(result, DataError):
        writer.skip(source.file_name, str(result))
        return
    suffix = (
        PurePosixPath(source.file_name).suffix.lower()
        if isinstance(codec, IdentityCodec)
        else _SUFFIXES[codec.name]
    )
    writer.add(source.file_name, suffix, result.height, result.width, result.stream)


class StoredImages:
    """A stored data set as a map-style data set of torch: image k is ``dataset[k]``.

    It may be used in loader workers, forked or spawned.

    Args:
        folder: A complete stored data set.
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

    def __init__(self, folder: Path | str, device: str | None = None):
        self.streams = StoredStreams(folder)
        manifest = self.streams.manifest
        self.codec = load_codec(_on_device(manifest.codec, device))
        if self.codec.fingerprint != manifest.fingerprint:
            raise ModelMismatchError(
                f"{folder} was made by {manifest.codec} with fingerprint {manifest.fingerprint}, "
                f"and here that codec has {self.codec.fingerprint}; install what it was made with, "
                "or compress again"
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


class Verification(NamedTuple):
    """What a check of a stored data set found."""

    num_streams: int
    """Whose checksums were compared."""
    num_decoded: int
    problems: tuple[str, ...]
    """A sentence each; none if all is well."""


def verify(
    folder: Path,
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
    if rebuild_indices:
        manifest = read_manifest(folder)
        for number in range(manifest.num_shards):
            rebuild_index(folder, number, manifest.numbers(number))
        complete(folder, manifest)
    images = StoredImages(folder, device)
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
