"""Images compressed into the shards of a stored data set."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from salcompress.codecs.base import Codec
from salcompress.codecs.encoder_pool import EncodedImage, encoded_images
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.data.shards import ShardWriter, index_name, read_shard, shard_name
from salcompress.data.sources import Sources, check_names, listed_sources, write_list
from salcompress.data.storage import LocalFolder, Storage
from salcompress.data.stored import Manifest, complete, read_manifest, write_manifest
from salcompress.errors import DataError, SettingError
from salcompress.files import exclusive_folder

IMAGES_PER_SHARD = 1000
"""Default. A thousand streams of COCO's size are some 20 MB."""
_SUFFIXES = {
    "jpeg": ".jpg",
    "jpeg2000": ".jp2",
    "webp": ".webp",
    "avif": ".avif",
    "png": ".png",
    "jpegli": ".jpg",
    "jxl": ".jxl",
    "hevc": ".hevc",
    "vvc": ".vvc",
    "salient": ".salc",
    "compressai": ".bin",
}


def compress_images(
    sources: Sources,
    codec: Codec,
    out: Storage,
    workers: int = 0,
    images_per_shard: int = IMAGES_PER_SHARD,
    *,
    retry_skipped: bool = False,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Manifest:
    """Encode images into shards. What an earlier call has finished is not done again.

    Args:
        sources: The images. A call that goes on may lack some that have vanished since; they are
            then skipped.
        codec: What encodes.
        out: Where shards, indices and manifest go.
        workers: Processes that encode; 0 encodes in this one.
        images_per_shard: What is lost at most when the process is killed.
        retry_skipped: Make shards anew from which images had to be left out.
        on_image: Called with the number of images that are done, at first with those of before.

    Returns:
        The manifest, with counts and rates. Images that could not be read are listed in
        ``StoredStreams(out).skipped``.

    Raises:
        SettingError: ``out`` holds another codec's streams or other images, or is in use; there is
            no image; or a number is out of range.
        DataError: A worker process died.
        OutputError: The disk is full. What is finished stays, and the same call goes on.
    """
    with held(out):
        plan = Plan(sources, codec, out, images_per_shard, retry_skipped)
        num_done = plan.manifest.num_images - sum(len(plan.names(n)) for n in plan.missing)
        on_image(num_done)
        readable = (
            name
            for number in plan.missing
            for name in plan.names(number)
            if name not in sources.problems
        )
        with encoded_images(codec, sources.images, readable, workers) as encoded:
            for number in plan.missing:

                def count() -> None:
                    nonlocal num_done
                    num_done += 1
                    on_image(num_done)

                first = plan.manifest.numbers(number).start
                part = sources._replace(file_names=plan.names(number))
                write_shard(part, codec, out, number, first, encoded, count)
        return complete(out, plan.manifest)


def compress_shard(sources: Sources, codec: Codec, out: Storage, number: int, first: int) -> int:
    """Encode the images of one shard in this process, and write it; how many images it has.

    Args:
        sources: Those of the shard alone.
        number: Of the shard.
        first: Number in the data set of its first image.

    Raises:
        OutputError: The shard cannot be written.
    """
    readable = [name for name in sources.file_names if name not in sources.problems]
    with encoded_images(codec, sources.images, readable, workers=0) as encoded:
        write_shard(sources, codec, out, number, first, encoded)
    return len(sources.file_names)


def write_shard(
    sources: Sources,
    codec: Codec,
    out: Storage,
    number: int,
    first: int,
    encoded: Iterator[EncodedImage | DataError],
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Collect the streams of a shard as they come, and write it.

    Raises:
        OutputError: The shard cannot be written.
    """
    shard = ShardWriter(first)
    for name in sources.file_names:
        result = sources.problems.get(name) or next(encoded)
        if isinstance(result, EncodedImage):
            is_source = isinstance(codec, IdentityCodec)
            suffix = PurePosixPath(name).suffix.lower() if is_source else _SUFFIXES[codec.name]
            shard.add(name, suffix, result.height, result.width, result.stream)
        else:
            shard.skip(name, str(result))
        on_image()
    shard.write(out, number)


@contextlib.contextmanager
def held(out: Storage) -> Iterator[None]:
    """Hold a folder of this machine for this process, so that no other one compresses into it.

    Raises:
        SettingError: Another process holds it.
    """
    if isinstance(out, LocalFolder):
        with exclusive_folder(out.folder):
            yield
    else:
        yield


class Plan:
    """What is to be done, and what an earlier call has finished.

    Attributes:
        manifest: Written where there was none.
        missing: Numbers of the shards that are to be made.

    Raises:
        SettingError: ``out`` was begun with something else, which the message names; there is no
            image; or a number is out of range.
        OutputError: The manifest cannot be written.
    """

    def __init__(
        self,
        sources: Sources,
        codec: Codec,
        out: Storage,
        images_per_shard: int,
        retry_skipped: bool,
    ):
        check_names(sources)
        if images_per_shard < 1:
            raise SettingError(f"images_per_shard must be at least 1, got {images_per_shard}")
        if out.size("manifest.json") is None:
            self._begin(sources, codec, out, images_per_shard)
        else:
            self._go_on(sources, codec, out, images_per_shard)
        self.missing = [
            number
            for number in range(self.manifest.num_shards)
            if not _is_finished(out, number, retry_skipped)
        ]

    def names(self, number: int) -> Sequence[str]:
        """Images of a shard."""
        return [self._names[k] for k in self.manifest.numbers(number)]

    def _begin(self, sources: Sources, codec: Codec, out: Storage, images_per_shard: int) -> None:
        if out.size(shard_name(0)) is not None or out.size(index_name(0)) is not None:
            raise SettingError(
                f"{out.label} has shards and no manifest, so that nothing tells what they hold; "
                "choose another folder, or remove them"
            )
        model = codec.model_fingerprint.hex() if isinstance(codec, SalientCodec) else None
        self._names = list(sources.file_names)
        self.manifest = Manifest(
            codec.label, codec.fingerprint, model, len(self._names), images_per_shard
        )
        write_list(out, sources)
        write_manifest(out, self.manifest)

    def _go_on(self, sources: Sources, codec: Codec, out: Storage, images_per_shard: int) -> None:
        self.manifest = found = read_manifest(out)
        if codec.fingerprint != found.fingerprint:
            then, now = (
                (found.codec, codec.label)
                if codec.label != found.codec
                else (f"fingerprint {found.fingerprint}", codec.fingerprint)
            )
            raise SettingError(
                f"{out.label} was begun with another codec: {then} then, {now} now; choose "
                "another folder, or the same as then"
            )
        if images_per_shard != found.images_per_shard:
            raise SettingError(
                f"{out.label} was begun with another number of images per shard: "
                f"{found.images_per_shard} then, {images_per_shard} now; give that of then"
            )
        self._names = list(listed_sources(out, sources).file_names)


def _is_finished(out: Storage, number: int, retry_skipped: bool) -> bool:
    """Whether a shard and its index are there and whole."""
    try:
        shard = read_shard(out, number)
    except DataError:
        return False
    return not (retry_skipped and shard.skipped)
