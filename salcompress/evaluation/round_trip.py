"""Images through codecs and back, with rate, distortion and time.

Each image is read once. What does not depend on the setting is computed once: the saliency that
steers the learned codec, and the features that the learned metric has of the original.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from salcompress.codecs.base import Codec, CodingMaps
from salcompress.codecs.cache import CachedCodec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient.steering import RememberedSaliency, remembered_saliency
from salcompress.errors import BitstreamError, CorruptError, DataError, SettingError
from salcompress.files import digest, read_file
from salcompress.image import decode_named_image
from salcompress.metrics.psnr_ssim import ms_ssim, psnr


class CodedImage(NamedTuple):
    """An image that went through a codec. None was not measured."""

    decoded: np.ndarray
    """uint8 (H, W, 3), what the detector sees."""
    num_bits: int
    """8 x the length of the whole stream."""
    encode_s: float | None
    """Seconds to encode, the saliency included. It is None where nothing was encoded: by the
    identity codec, or where the stream came out of a cache.
    """
    decode_s: float | None
    """Seconds to decode."""
    psnr: float | None = None
    ms_ssim: float | None = None
    perceptual: float | None = None
    maps: CodingMaps | None = None

    def compared_to(self, original: np.ndarray, with_perceptual: bool = True) -> "CodedImage":
        """The same with its distortion measured; see :func:`compared`."""
        return compared([self], original, with_perceptual)[0]


class CodedSettings(NamedTuple):
    """One image at several settings."""

    source_digest: str | None
    """Of the file that the image came from; None where it cannot be read."""
    coded: list[CodedImage | DataError]
    """At each setting, in order: the image, or why the setting could not code it."""


def code(
    codec: Codec, image: np.ndarray, source: bytes | None = None, with_maps: bool = False
) -> CodedImage:
    """Encode an image, decode the stream, and take the time of both.

    Args:
        image: uint8 (H, W, 3).
        source: The file that the image came from, if it did. It is the stream of the identity
            codec, which is neither encoded nor decoded, so that its times are None.
        with_maps: Also say where the bits went, if the codec knows. The times leave this out.

    Raises:
        SettingError: The codec cannot hold the image.
        BitstreamError: The codec cannot decode what it made.
    """
    with remembered_saliency() as saliency:
        return _code(codec, image, source, with_maps, saliency)


def compared(
    coded: Sequence[CodedImage], original: np.ndarray, with_perceptual: bool = True
) -> list[CodedImage]:
    """Decoded versions of one image with their distortion measured.

    Args:
        coded: The versions.
        original: The image, uint8 (H, W, 3).
        with_perceptual: Measure by the learned metric, too. An exact copy has the distance 0.

    Returns:
        The versions in order, each with PSNR, MS-SSIM and, if wanted, the perceptual distance.

    Raises:
        SettingError: A version has another shape than the original.
    """
    distances: list[float | None] = [None] * len(coded)
    if with_perceptual:
        distances = [0.0] * len(coded)
        changed = [k for k, c in enumerate(coded) if not np.array_equal(original, c.decoded)]
        if changed:
            from salcompress.metrics.perceptual import perceptual_distances

            found = perceptual_distances(original, [coded[k].decoded for k in changed])
            for k, distance in zip(changed, found):
                distances[k] = distance
    return [
        c._replace(
            psnr=psnr(original, c.decoded),
            ms_ssim=ms_ssim(original, c.decoded),
            perceptual=distance,
        )
        for c, distance in zip(coded, distances)
    ]


def code_settings(
    codecs: Sequence[Codec], path: Path | str, with_perceptual: bool = True
) -> CodedSettings:
    """Read an image once, and code and measure it at every setting.

    Args:
        codecs: One codec a setting.
        path: The image file.
        with_perceptual: Measure by the learned metric, too.

    Returns:
        The image at each setting. A setting at which it cannot be coded has an error that names the
        file; an image that cannot be read has one at every setting.
    """
    try:
        source = read_file(path)
    except DataError as error:
        return CodedSettings(None, [error] * len(codecs))
    source_digest = digest(source)[:16]
    try:
        original = decode_named_image(source, path)
    except DataError as error:
        return CodedSettings(source_digest, [error] * len(codecs))
    results: list[CodedImage | DataError] = []
    with remembered_saliency() as saliency:
        for codec in codecs:
            try:
                results.append(_code(codec, original, source, True, saliency))
            except (SettingError, BitstreamError) as error:
                results.append(DataError(f"{path}: {error}"))
    measured = iter(
        compared([c for c in results if isinstance(c, CodedImage)], original, with_perceptual)
    )
    return CodedSettings(
        source_digest, [next(measured) if isinstance(c, CodedImage) else c for c in results]
    )


def _code(
    codec: Codec,
    image: np.ndarray,
    source: bytes | None,
    with_maps: bool,
    saliency: RememberedSaliency,
) -> CodedImage:
    if isinstance(codec, IdentityCodec):
        return CodedImage(
            image, 8 * len(codec.encode(image) if source is None else source), None, None
        )
    saved_before = saliency.saved_s
    started = time.perf_counter()
    stream = codec.encode(image)
    encoded = time.perf_counter()
    saved = saliency.saved_s - saved_before
    decoded = codec.decode(stream)
    finished = time.perf_counter()
    if decoded.shape != image.shape:
        raise CorruptError(
            f"codec {codec.name} gave back an image of shape {decoded.shape}, not {image.shape}"
        )
    encode_s: float | None = encoded - started
    if isinstance(codec, CachedCodec):
        encode_s = codec.encode_s
    return CodedImage(
        decoded,
        8 * len(stream),
        None if encode_s is None else encode_s + saved,
        finished - encoded,
        maps=codec.maps(image, stream) if with_maps else None,
    )
