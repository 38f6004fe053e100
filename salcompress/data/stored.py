"""A data set stored as compressed streams.

::

    OUT/manifest.json               what is stored, by which codec; see Manifest
    OUT/images.json                 names and sizes of the images, as they were when work began
    OUT/shards/000000.tar           000000000.salc, 000000000.json, 000000001.salc, ...
    OUT/shards/000000.index.json    where each stream lies in the shard, and what was left out
"""

import bisect
import functools
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from salcompress.data.shards import Shard, StoredImage, read_shard, read_stream
from salcompress.data.storage import Storage, open_storage
from salcompress.errors import DataError, SettingError

_FORMAT = "salcompress stored data set 1"
_SHARDS_IN_MEMORY = 128
"""Indices that a reader keeps, some 600 kB each for a thousand images: all of COCO's."""


@dataclass(frozen=True)
class Manifest:
    """What a stored data set holds. It is written when work begins and again when it ends."""

    codec: str
    """The codec's specification."""
    fingerprint: str
    """The codec's: its name, its setting and the content of its weights."""
    model: str | None
    """Fingerprint of the learned codec's weights, as its streams have it, in hexadecimal digits."""
    num_images: int
    """How many images are to be stored; ``images.json`` lists them."""
    images_per_shard: int
    is_complete: bool = False
    """Whether each of them is stored or is known to be unreadable. Figures below are of then."""
    num_stored: int = 0
    num_skipped: int = 0
    """Images that could not be read; the indices say why."""
    num_bits: int = 0
    bpp: float | None = None
    """All bits over all pixels."""
    bpp_mean: float | None = None
    """Mean over the images of their bits per pixel."""

    @property
    def num_shards(self) -> int:
        return -(-self.num_images // self.images_per_shard)

    def numbers(self, shard: int) -> range:
        """Numbers of the images of a shard."""
        first = shard * self.images_per_shard
        return range(first, min(first + self.images_per_shard, self.num_images))


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Write the manifest.

    Raises:
        OutputError: It cannot be written.
    """
    storage.write("manifest.json", json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1))


def read_manifest(storage: Storage) -> Manifest:
    """The manifest of a stored data set.

    Raises:
        SettingError: The folder holds no stored data set.
        DataError: The manifest is damaged, or of another version.
    """
    path = f"{storage.label}/manifest.json"
    if storage.size("manifest.json") is None:
        raise SettingError(
            f"{storage.label} holds no stored data set; make one with salcompress compress --out "
            f"{storage.label}"
        )
    try:
        content = json.loads(storage.read("manifest.json"))
        if content.pop("format") != _FORMAT:
            raise DataError(f"{path} is of another version of salcompress")
        return Manifest(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); compress into another folder") from error


class StoredStreams(Sequence[StoredImage]):
    """The images of a stored data set, and their streams.

    Indices of shards are read when they are needed first, so nine million images open at once.
    Files are opened for each stream anew, so an object may be used in forked and spawned processes.

    Args:
        location: A complete stored data set: a folder, or an address such as s3://bucket/folder.

    Raises:
        SettingError: The folder holds no stored data set, or one that is not complete.
        DataError: Its manifest is damaged.
    """

    def __init__(self, location: Path | str | Storage):
        self.storage = open_storage(location)
        self.manifest = read_manifest(self.storage)
        if not self.manifest.is_complete:
            raise SettingError(
                f"{self.storage.label} is not complete; run its salcompress compress command "
                "again, which goes on where it stopped"
            )
        self._shard = functools.lru_cache(_SHARDS_IN_MEMORY)(self._read_shard)
        self._ends: list[int] | None = None

    def __reduce__(self) -> tuple[type["StoredStreams"], tuple[Storage]]:
        return type(self), (self.storage,)

    def __len__(self) -> int:
        return self.manifest.num_stored

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return [self[j] for j in range(*k.indices(len(self)))]
        return self._locate(k)[1]

    def stream(self, k: int) -> bytes:
        """The stream of an image, checked.

        Raises:
            DataError: The shard cannot be read.
            CorruptError: The stream is not what was stored.
        """
        number, image = self._locate(k)
        return read_stream(self.storage, number, image)

    @property
    def skipped(self) -> dict[str, str]:
        """Why images could not be stored, by file name."""
        found: dict[str, str] = {}
        for number in range(self.manifest.num_shards):
            found.update(self._shard(number).skipped)
        return found

    def _locate(self, k: int) -> tuple[int, StoredImage]:
        if not -len(self) <= k < len(self):
            raise IndexError(f"image {k} of {len(self)}")
        k %= len(self)
        if self._ends is None:
            # without gaps, an image's number says where it is, and no index needs to be read
            sizes: Iterable[int] = (
                itertools.repeat(self.manifest.images_per_shard, self.manifest.num_shards)
                if self.manifest.num_skipped == 0
                else (len(self._shard(n).images) for n in range(self.manifest.num_shards))
            )
            self._ends = list(itertools.accumulate(sizes))
        number = bisect.bisect_right(self._ends, k)
        start = self._ends[number - 1] if number else 0
        return number, self._shard(number).images[k - start]

    def _read_shard(self, number: int) -> Shard:
        return read_shard(self.storage, number)


def complete(storage: Storage, manifest: Manifest) -> Manifest:
    """Write the manifest of a data set whose shards are all there, with its counts and rates.

    Raises:
        DataError: A shard is missing or damaged.
        OutputError: The manifest cannot be written.
    """
    stored = skipped = bits = pixels = 0
    sum_bpp = 0.0
    for number in range(manifest.num_shards):
        shard = read_shard(storage, number)
        stored, skipped = stored + len(shard.images), skipped + len(shard.skipped)
        for image in shard.images:
            bits += 8 * image.length
            pixels += image.height * image.width
            sum_bpp += 8 * image.length / (image.height * image.width)
    manifest = replace(
        manifest,
        is_complete=True,
        num_stored=stored,
        num_skipped=skipped,
        num_bits=bits,
        bpp=bits / pixels if pixels else None,
        bpp_mean=sum_bpp / stored if stored else None,
    )
    write_manifest(storage, manifest)
    return manifest
