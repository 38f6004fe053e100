"""Shards of streams in WebDataset's layout, and the index beside each.

A shard is a tar file, so WebDataset and other readers of that layout take it as it is. Each image
has two members of one key: the stream, and a small JSON with its file name, height, width, bits and
checksum. The index beside a shard repeats these with the place of the stream, for random access. It
can be made again from the shard. A shard and its index are written whole or not at all. The layout
is that of https://github.com/webdataset/webdataset; the index is our choice.
"""

import io
import json
import os
import tarfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from salcompress.data.storage import Storage
from salcompress.errors import CorruptError, DataError
from salcompress.files import digest

_BLOCK = 512
"""Bytes of a block of a tar file."""
_REBUILD_CURE = "make the indices again with `salcompress verify --rebuild-index`"
_AGAIN_CURE = "remove it and its index, and run the same salcompress compress again"


class StoredImage(NamedTuple):
    """An image of a stored data set."""

    file_name: str
    """As the images folder or the annotations name it, with ``/`` between folders."""
    suffix: str
    """Of the stream's member, such as ``.salc``."""
    height: int
    """Of the original image, in pixels."""
    width: int
    checksum: str
    """First 16 hexadecimal digits of SHA-256 of the stream."""
    offset: int
    """Of the stream's first byte in the shard."""
    length: int
    """Of the stream in bytes; the rate is 8 x this."""


class Shard(NamedTuple):
    """The index of one shard."""

    images: tuple[StoredImage, ...]
    skipped: Mapping[str, str]
    """Why images of this shard could not be stored, by file name."""


def key_of(number: int) -> str:
    """The key of an image, as both of its members have it: its number in the data set."""
    return f"{number:09d}"


def shard_name(number: int) -> str:
    """File of a shard, below the data set's folder."""
    return f"shards/{number:06d}.tar"


def index_name(number: int) -> str:
    """File of the index beside a shard."""
    return f"shards/{number:06d}.index.json"


class ShardWriter:
    """Collects the images of one shard, and writes shard and index at once.

    Example:
        >>> import tempfile
        >>> from salcompress.data.storage import LocalFolder
        >>> folder = LocalFolder(tempfile.mkdtemp())
        >>> shard = ShardWriter(first=0)
        >>> shard.add("a.png", ".jpg", 4, 6, b"a stream")
        >>> shard.skip("b.png", "it is damaged")
        >>> shard.write(folder, 0)
        >>> read_shard(folder, 0).skipped
        {'b.png': 'it is damaged'}

    Args:
        first: Number in the data set of the shard's first image.
    """

    def __init__(self, first: int):
        self._next = first
        self._file = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        self._images: list[StoredImage] = []
        self._skipped: dict[str, str] = {}

    def add(self, file_name: str, suffix: str, height: int, width: int, stream: bytes) -> None:
        """Add an image's stream."""
        key = key_of(self._next)
        self._next += 1
        image = StoredImage(
            file_name,
            suffix,
            height,
            width,
            _checksum(stream),
            self._tar.offset + _BLOCK,
            len(stream),
        )
        self._add_member(key + suffix, stream)
        self._add_member(key + ".json", json.dumps(_about(image)).encode())
        self._images.append(image)

    def skip(self, file_name: str, reason: str) -> None:
        """Note that an image could not be stored."""
        self._next += 1
        self._skipped[file_name] = reason

    def write(self, storage: Storage, number: int) -> None:
        """Write the shard, then its index. Without its index a shard does not count.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        self._tar.close()
        content = self._file.getvalue()
        self._file.close()
        storage.write(shard_name(number), content)
        write_index(storage, number, Shard(tuple(self._images), self._skipped), len(content))

    def _add_member(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


def write_index(storage: Storage, number: int, shard: Shard, num_bytes: int) -> None:
    """Write the index of a shard.

    Args:
        num_bytes: Length of the shard.

    Raises:
        OutputError: It cannot be written.
    """
    storage.write(
        index_name(number),
        json.dumps(
            {"num_bytes": num_bytes, "images": shard.images, "skipped": shard.skipped}, indent=0
        ),
    )


def read_shard(storage: Storage, number: int) -> Shard:
    """The index of a shard.

    Raises:
        DataError: Shard or index is missing, cut short or damaged.
    """
    path, shard = f"{storage.label}/{index_name(number)}", f"{storage.label}/{shard_name(number)}"
    if storage.size(index_name(number)) is None:
        raise DataError(f"{path} is missing; {_REBUILD_CURE}")
    try:
        content = json.loads(storage.read(index_name(number)))
        index = Shard(tuple(StoredImage(*entry) for entry in content["images"]), content["skipped"])
        num_bytes = content["num_bytes"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); {_REBUILD_CURE}") from error
    there = storage.size(shard_name(number)) or 0
    if there != num_bytes:
        raise DataError(
            f"{shard} has {there} bytes, not the {num_bytes} of its index: it is cut short or "
            f"missing; {_AGAIN_CURE}"
        )
    return index


def rebuild_index(storage: Storage, number: int, numbers: range) -> Shard:
    """Make the index of a shard again from the shard. Why images were left out is lost.

    Args:
        numbers: Numbers in the data set of the images that belong to the shard.

    Raises:
        DataError: The shard is missing or damaged.
        OutputError: The index cannot be written.
    """
    path = f"{storage.label}/{shard_name(number)}"
    try:
        file = storage.read(shard_name(number))
        images = _images_of(file)
    except (tarfile.TarError, DataError, ValueError, KeyError) as error:
        raise DataError(f"{path} is missing or damaged ({error}); {_AGAIN_CURE}") from error
    keys = [key_of(k) for k in numbers]
    lost = "it was left out, for a reason that the lost index had"
    shard = Shard(
        tuple(images.values()), {f"number {key}": lost for key in keys if key not in images}
    )
    write_index(storage, number, shard, len(file))
    return shard


def _images_of(file: bytes) -> dict[str, StoredImage]:
    """The images of a shard, by key.

    Raises:
        tarfile.TarError, ValueError, KeyError: The shard is damaged.
    """
    images: dict[str, StoredImage] = {}
    places: dict[str, tuple[str, int, int]] = {}
    end = 0
    with tarfile.open(fileobj=io.BytesIO(file)) as tar:
        for member in tar:
            key, suffix = os.path.splitext(member.name)
            content = tar.extractfile(member)
            end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            if suffix != ".json":
                places[key] = (suffix, member.offset_data, member.size)
            elif content is not None:
                about, (suffix, offset, length) = json.load(content), places[key]
                size, checksum = (about["height"], about["width"]), about["checksum"]
                images[key] = StoredImage(
                    about["file_name"], suffix, *size, checksum, offset, length
                )
    # tarfile takes a damaged header for the end of the file
    if len(images) < len(places) or len(file) < end + 2 * _BLOCK or any(file[end:]):
        raise ValueError("its members do not fill it")
    return images


def read_stream(storage: Storage, number: int, image: StoredImage) -> bytes:
    """The stream of an image of a shard, checked.

    Raises:
        DataError: The shard cannot be read.
        CorruptError: The stream is not what was stored.
    """
    stream = storage.read(shard_name(number), image.offset, image.length)
    if _checksum(stream) != image.checksum:
        raise CorruptError(
            f"{storage.label}/{shard_name(number)}: the stream of {image.file_name} does not match "
            f"its checksum, so the shard is damaged; {_AGAIN_CURE}"
        )
    return stream


def _about(image: StoredImage) -> dict[str, Any]:
    return {
        "file_name": image.file_name,
        "height": image.height,
        "width": image.width,
        "num_bits": 8 * image.length,
        "checksum": image.checksum,
    }


def _checksum(stream: bytes) -> str:
    return digest(stream)[:16]
