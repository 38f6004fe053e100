"""What a codec is; the identity codec; a cache of streams around any codec."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from salcompress.errors import SettingError
from salcompress.files import digest, write_atomically
from salcompress.image import check_image, decode_image


class Option(NamedTuple):
    """One option of a codec."""

    default: Any
    convert: Callable[[Any], Any]
    """Value from its text; raises ValueError whose message says what is valid."""
    meaning: str


class CodingMaps(NamedTuple):
    """What a codec with a quality map did where; arrays (rows, columns) of float32 over the 16x16
    places of the padded image.
    """

    saliency: np.ndarray
    """Mean of the saliency map that steered the encoder, [0, 1]."""
    quality: np.ndarray
    """Quality in the stream, [0, 1]."""
    bits: np.ndarray
    """Bits by the integer tables of the coder, quality map included; the header counts nowhere."""


class Codec(Protocol):
    """Bytes out of an image and back, at one setting that is fixed at construction.

    A codec is a class with ``OPTIONS``, constructed with these as keyword arguments and listed in
    :data:`salcompress.codecs.CODECS`. Objects can be pickled and used in several processes.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]
    name: str
    """As in a specification: ``jpeg``."""
    setting: str
    """Every option that changes the rate, defaults too: ``q=30,subsampling=420``."""
    fingerprint: str
    """Name, setting and the version of what codes: a stream of one codec stands for that of any
    other with its fingerprint.
    """

    @property
    def label(self) -> str:
        """Codec and setting as a specification: ``jpeg:q=30,subsampling=420``."""
        return f"{self.name}:{self.setting}" if self.setting else self.name

    def encode(self, image: np.ndarray) -> bytes:
        """The compressed stream, a whole file with its headers.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            SettingError: ``image`` is no such array, or of a size that the format does not have.
        """

    def decode(self, stream: bytes) -> np.ndarray:
        """The image, uint8 (H, W, 3), RGB.

        Raises:
            BitstreamError: The stream is truncated, damaged, or not of this codec.
        """

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps | None:
        """Saliency, quality and bits by place of a stream that this codec made of ``image``; None
        where a codec knows no places.
        """
        return None


def convert_options(codec: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values of all options of a codec class, defaults filled in.

    Raises:
        SettingError: Names the option and says what is valid.
    """
    values = {}
    for key, option in codec.OPTIONS.items():
        try:
            values[key] = option.convert(given[key]) if key in given else option.default
        except ValueError as error:
            raise SettingError(
                f"{codec.name}: {key} ({option.meaning}) must be {error}, got {given[key]!r}"
            ) from None
    return values


class IdentityCodec(Codec):
    """No compression. Where an image came from a file, that file is its stream, so the rate is that
    of the source (see :func:`salcompress.evaluation.round_trip.code`); of bare pixels the stream is
    an uncompressed PPM file, 24 bits per pixel.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    name = "none"
    setting = ""
    fingerprint = "none"

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        height, width, _ = image.shape
        return b"P6 %d %d 255\n" % (width, height) + image.tobytes()

    def decode(self, stream: bytes) -> np.ndarray:
        return decode_image(stream)


_ENTRY_MAGIC = b"SALCACH1"


class CachedCodec(Codec):
    """Keeps the streams of another codec in a folder, by content of the image and fingerprint of
    the codec.

    Entries are written atomically, so several processes can share a folder. Each carries a digest:
    a damaged entry is made again; an unwritable folder or a full disk is an error. With a bound,
    the entries unused for the longest time go first; each process counts what it has written since
    it last looked, so n processes may exceed the bound by n/16 of it for a while.

    Args:
        codec: The codec to wrap. (The identity codec has nothing to keep: see :func:`with_cache`.)
        folder: Made if need be.
        max_bytes: Bound on the size of all entries together; none if None.

    Attributes:
        hits: Streams that came out of the cache, so far.
        misses: Streams that had to be made, so far.
        encode_s: Seconds that the wrapped codec took for the last stream; None where it came out of
            the cache.
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
        self._unchecked = (
            max_bytes or 0
        )  # bytes that may have been added since the bound was last enforced

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
            self._enforce_bound()
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

    def _enforce_bound(self) -> None:
        entries = []
        for path in self.folder.glob(
            "??/[!.]*"
        ):  # a dot begins what another process is still writing
            with contextlib.suppress(OSError):  # another process has removed it
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        self._unchecked = 0


def with_cache(codec: Codec, folder: Path | str | None, max_bytes: int | None = None) -> Codec:
    """The codec behind a :class:`CachedCodec`; as it is if ``folder`` is None, or if it is the
    identity.
    """
    return (
        codec
        if folder is None or isinstance(codec, IdentityCodec)
        else CachedCodec(codec, folder, max_bytes)
    )
