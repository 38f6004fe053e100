"""Images compressed into the shards of a stored data set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from salcompress.codecs.base import Codec
from salcompress.codecs.encoder_pool import EncodedImage, encoded_files
from salcompress.codecs.identity import IdentityCodec
from salcompress.data.coco import load_annotations, load_dataset
from salcompress.data.shards import ShardWriter, index_name
from salcompress.data.storage import LocalFolder, Storage
from salcompress.data.stored import (
    Manifest,
    complete,
    images_digest,
    read_manifest,
    write_manifest,
)
from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS

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


class Sources(NamedTuple):
    """The images that are to be stored, in this order."""

    images: Storage
    file_names: Sequence[str]
    """Names below ``images``, with ``/`` between folders. They are stored, too."""
    problems: Mapping[str, str] = {}
    """Why some are known already to be unusable, by file name."""


def find_sources(images: Storage, annotations: Path | None = None) -> Sources:
    """The images of a folder, or those that annotations list.

    Args:
        annotations: A COCO instances file. Images that it lists and that are missing, or of another
            size than it says, become problems. In a folder that is not on this machine that shows
            when they are encoded.

    Raises:
        SettingError: The folder or the file does not exist, or no image is there.
        DataError: The annotations cannot be read.
    """
    if annotations is None:
        names = [n for n in images.names() if PurePosixPath(n).suffix.lower() in IMAGE_ENDINGS]
        return Sources(images, names)
    if isinstance(images, LocalFolder):
        dataset = load_dataset(images.folder, annotations, skip_bad=True)
        names = [entry["file_name"] for entry in dataset.coco.dataset["images"]]
        return Sources(images, names, dataset.skipped)
    coco, _ = load_annotations(annotations)
    return Sources(images, [entry["file_name"] for entry in coco.dataset["images"]])


def compress_images(
    sources: Sources,
    codec: Codec,
    out: Storage,
    workers: int = 1,
    images_per_shard: int = IMAGES_PER_SHARD,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Manifest:
    """Encode images into shards. What an earlier call has finished is not done again.

    Args:
        out: Where shards, indices and manifest go.
        workers: Processes that encode; 0 encodes in this one.
        images_per_shard: What is lost at most when the process is killed.
        on_image: Called with the number of images that are done, at first with those of before.

    Returns:
        The manifest, with counts and rates. Images that could not be read are listed in
        ``StoredStreams(out).skipped``.

    Raises:
        SettingError: ``out`` holds another codec's streams or other images, there is no image, or a
            number is out of range.
        DataError: A worker process died, or a shard of before is damaged.
        OutputError: The disk is full. What is finished stays, and the same call goes on.
    """
    manifest = begin(sources, codec, out, images_per_shard)
    missing = missing_shards(out, manifest)
    names = {n: [sources.file_names[k] for k in manifest.numbers(n)] for n in missing}
    num_done = manifest.num_images - sum(map(len, names.values()))
    on_image(num_done)
    if manifest.is_complete:
        return manifest
    readable = (name for part in names.values() for name in part if name not in sources.problems)
    with encoded_files(codec, sources.images, readable, workers) as encoded:
        for number, part in names.items():
            shard = ShardWriter(manifest.numbers(number).start)
            for name in part:
                store(shard, name, codec, sources.problems.get(name) or next(encoded))
                num_done += 1
                on_image(num_done)
            shard.write(out, number)
    return complete(out, manifest)


def begin(sources: Sources, codec: Codec, out: Storage, images_per_shard: int) -> Manifest:
    """The manifest of a compression that begins or goes on; it is written where there is none.

    Raises:
        SettingError: ``out`` was begun with something else, which the message names, there is no
            image, or two have one name.
        OutputError: The manifest cannot be written.
    """
    names = sources.file_names
    if not names:
        raise SettingError(f"{sources.images.label} has no image to compress")
    if images_per_shard < 1:
        raise SettingError(f"images_per_shard must be at least 1, got {images_per_shard}")
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise SettingError(f"{twice} is listed twice; each image is stored once")
    wanted = Manifest(
        codec.label, codec.fingerprint, images_digest(names), len(names), images_per_shard
    )
    if out.size("manifest.json") is None:
        write_manifest(out, wanted)
        return wanted
    found = read_manifest(out)
    for what, ours, theirs in (
        ("codec", wanted.codec, found.codec),
        ("number of images", wanted.num_images, found.num_images),
        ("number of images per shard", wanted.images_per_shard, found.images_per_shard),
    ):
        if ours != theirs:
            raise SettingError(
                f"{out.label} was begun with another {what}: {theirs} then, {ours} now; choose "
                "another folder, or the same as then"
            )
    if wanted.images != found.images:
        raise SettingError(
            f"{out.label} was begun with other images of as large a number; choose another folder"
        )
    if wanted.fingerprint != found.fingerprint:
        raise SettingError(
            f"{out.label} was begun with another version of {wanted.codec} (fingerprint "
            f"{found.fingerprint} then, {wanted.fingerprint} now); choose another folder"
        )
    return found


def missing_shards(out: Storage, manifest: Manifest) -> list[int]:
    """Numbers of the shards that are not there yet."""
    if manifest.is_complete:
        return []
    return [n for n in range(manifest.num_shards) if out.size(index_name(n)) is None]


def store(
    shard: ShardWriter, name: str, codec: Codec, result: EncodedImage | DataError | str
) -> None:
    """Add an image to a shard, or why there is none."""
    if isinstance(result, EncodedImage):
        is_source = isinstance(codec, IdentityCodec)
        suffix = PurePosixPath(name).suffix.lower() if is_source else _SUFFIXES[codec.name]
        shard.add(name, suffix, result.height, result.width, result.stream)
    else:
        shard.skip(name, str(result))


def compress_shard(
    sources: Sources, codec: Codec, out: Storage, manifest: Manifest, number: int
) -> int:
    """Encode the images of one shard in this process, and write it; how many images it has.

    Args:
        sources: Those of the shard alone.

    Raises:
        OutputError: The shard cannot be written.
    """
    shard = ShardWriter(manifest.numbers(number).start)
    results: Iterator[EncodedImage | DataError]
    readable = [name for name in sources.file_names if name not in sources.problems]
    with encoded_files(codec, sources.images, readable, workers=0) as results:
        for name in sources.file_names:
            store(shard, name, codec, sources.problems.get(name) or next(results))
    shard.write(out, number)
    return len(sources.file_names)
