"""Codecs by specification: ``salient:q=0.3``, ``jpeg:q=30``, ``jpeg2000:bpp=0.2``, ``webp:q=10``,
``avif:q=20``, ``png``, ``none``.
"""

import itertools
from collections.abc import Mapping

from salcompress.codecs.base import CachedCodec, Codec, IdentityCodec, with_cache
from salcompress.codecs.classical import AvifCodec, Jpeg2000Codec, JpegCodec, PngCodec, WebpCodec
from salcompress.codecs.compressai import CompressaiCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.errors import SettingError
from salcompress.spec import check_options, parse_spec

CODECS: Mapping[str, type[Codec]] = {
    codec.name: codec
    for codec in (
        JpegCodec,
        Jpeg2000Codec,
        WebpCodec,
        AvifCodec,
        PngCodec,
        SalientCodec,
        CompressaiCodec,
        IdentityCodec,
    )
}

__all__ = [
    "CODECS",
    "CachedCodec",
    "Codec",
    "SalientCodec",
    "load_codec",
    "load_codecs",
    "with_cache",
]


def load_codec(spec: str) -> Codec:
    """The codec of a specification with one setting.

    >>> load_codec("jpeg:q=30").setting
    'q=30,subsampling=420'

    Raises:
        SettingError: The name, an option or a value is unknown, or several settings are given;
            lists the valid ones.
        CodecUnavailableError: The codec's library is missing here.
    """
    codecs = load_codecs(spec)
    if len(codecs) > 1:
        raise SettingError(f"{spec!r} gives {len(codecs)} settings, and one codec is wanted here")
    return codecs[0]


def load_codecs(*specs: str) -> list[Codec]:
    """Every setting of every specification, in order, each once.

    A specification may list values, as ``jpeg:q=10,30,50``; of several lists, all combinations
    count.

    Raises:
        SettingError, CodecUnavailableError: As :func:`load_codec`.
    """
    codecs = [codec for spec in specs for codec in _settings(spec)]
    return list({codec.fingerprint: codec for codec in codecs}.values())


def _settings(spec: str) -> list[Codec]:
    parsed = parse_spec(spec)
    if parsed.name not in CODECS:
        raise SettingError(f"unknown codec {parsed.name!r}; valid codecs: {', '.join(CODECS)}")
    codec = CODECS[parsed.name]
    if parsed.argument is not None:
        raise SettingError(
            f"{spec!r}: {parsed.argument!r} is not option=value; options of {parsed.name}: "
            f"{', '.join(codec.OPTIONS) or 'none'}"
        )
    check_options(
        spec,
        parsed,
        {key: f"{o.meaning}, {o.default} if not given" for key, o in codec.OPTIONS.items()},
    )
    combinations = itertools.product(*parsed.options.values())
    return [codec(**dict(zip(parsed.options, values))) for values in combinations]
