"""A folder that keeps the streams of any codec."""

import contextlib
import hashlib
import os
import time
from pathlib import Path

import numpy as np

from salcompress.codecs.base import Codec, CodingMaps
from salcompress.codecs.identity import IdentityCodec
from salcompress.errors import SettingError
from salcompress.files import digest, write_atomically
from salcompress.image import check_image

_ENTRY_MAGIC = b"SALCACH1"


class CachedCodec(Codec):
    """Keeps the streams of another codec in a folder.

    An entry is found by the content of the image and the fingerprint of the codec. Entries are
    written atomically, so several processes can share a folder. Each carries a digest, and a
    damaged entry is made again.

    With a bound, the entries unused for the longest time go first. Each process counts what it has
    written since it last looked, so n processes may exceed the bound by n/16 of it for a while.

    Args:
        codec: The codec to wrap. The identity codec has nothing to keep: see :func:`with_cache`.
        folder: Where the entries are. It is made with the first one.
        max_bytes: Bound on the size of all entries together. None sets no bound.

    Attributes:
        hits: How many streams have come out of the cache.
        misses: How many streams had to be made.
        encode_s: Seconds that the wrapped codec took for the last stream. It is None where the
            stream came out of the cache.

    Raises:
        SettingError: ``max_bytes`` is below 1.
        OutputError: When encoding: the folder cannot be written, or the disk is full.
    """

    def __init__(self, codec: Codec, folder: Path | str, max_bytes: int | None = None):
        if max_bytes is not None and max_bytes < 1:
            raise SettingError(
                f"max_bytes must be at least 1, or None for no bound, got {max_bytes}"
            )
        self.codec, self.folder, self.max_bytes = codec, Path(folder), max_bytes
        self.name, self.setting, self.fingerprint = codec.name, codec.setting, codec.fingerprint
        self.hits = self.misses = 0
        self.encode_s: float | None = None
        self.device = codec.device
        # bytes that may have been added since the bound was last enforced; at first, any number
        self._unchecked = max_bytes or 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.codec!r} in {self.folder}>"

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        key = digest(self.fingerprint, str(image.shape), np.ascontiguousarray(image).data.cast("B"))
        path = self.folder / key[:2] / key[2:]
        stream = self._read(path)
        if stream is not None:
            self.hits, self.encode_s = self.hits + 1, None
            return stream
        started = time.perf_counter()
        stream = self.codec.encode(image)
        self.misses, self.encode_s = self.misses + 1, time.perf_counter() - started
        entry = _ENTRY_MAGIC + hashlib.sha256(stream).digest() + stream
        write_atomically(path, entry)
        self._unchecked += len(entry)
        if self.max_bytes is not None and self._unchecked > self.max_bytes / 16:
            self._enforce_bound(self.max_bytes)
        return stream

    def decode(self, stream: bytes) -> np.ndarray:
        return self.codec.decode(stream)

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps | None:
        return self.codec.maps(image, stream)

    def _read(self, path: Path) -> bytes | None:
        try:
            entry = path.read_bytes()
            if self.max_bytes is not None:
                os.utime(path)  # marks the entry as used
        except OSError:
            return None
        stream = entry[40:]
        return (
            stream
            if entry[:8] == _ENTRY_MAGIC and entry[8:40] == hashlib.sha256(stream).digest()
            else None
        )

    def _enforce_bound(self, max_bytes: int) -> None:
        entries = []
        # a dot begins the name of what another process is still writing
        for path in self.folder.glob("??/[!.]*"):
            with contextlib.suppress(OSError):  # another process has removed it
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= max_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        self._unchecked = 0


def with_cache(codec: Codec, folder: Path | str | None, max_bytes: int | None = None) -> Codec:
    """The codec behind a :class:`CachedCodec`, unless ``folder`` is None or the codec is the
    identity.
    """
    return (
        codec
        if folder is None or isinstance(codec, IdentityCodec)
        else CachedCodec(codec, folder, max_bytes)
    )
