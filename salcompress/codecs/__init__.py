"""Codecs by specification: ``salient:q=0.3``, ``jpeg:q=30``, ``jpeg2000:bpp=0.2``, ``webp:q=10``,
``avif:q=20``, ``png``, ``none``; with the extra ``[codecs]`` also ``jpegli:q=30``, ``jxl:q=30``,
``hevc:q=30`` and ``vvc:q=30``.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from salcompress.codecs.base import Codec
from salcompress.codecs.cache import CachedCodec, with_cache
from salcompress.codecs.classical import AvifCodec, Jpeg2000Codec, JpegCodec, PngCodec, WebpCodec
from salcompress.codecs.compressai import CompressaiCodec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.jpegli import JpegliCodec
from salcompress.codecs.jpegxl import JpegXlCodec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.video import HevcCodec, VvcCodec
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
        JpegliCodec,
        JpegXlCodec,
        HevcCodec,
        VvcCodec,
        SalientCodec,
        CompressaiCodec,
        IdentityCodec,
    )
}

__all__ = [
    "CODECS",
    "CachedCodec",
    "Codec",
    "IdentityCodec",
    "OptionRow",
    "SalientCodec",
    "load_codec",
    "load_codecs",
    "option_table",
    "with_cache",
]


def load_codec(spec: str) -> Codec:
    """The codec of a specification with one setting.

    >>> load_codec("jpeg:q=30")
    <JpegCodec jpeg:q=30,subsampling=420>

    Raises:
        SettingError: ``spec`` is no text; or the name, an option or a value is unknown, and the
            message lists the valid ones; or several settings are given.
        CodecUnavailableError: The codec's library is missing here.
    """
    codecs = load_codecs(spec)
    if len(codecs) > 1:
        raise SettingError(f"{spec!r} gives {len(codecs)} settings, and one codec is wanted here")
    return codecs[0]


def load_codecs(*specs: str) -> list[Codec]:
    """Every setting of every specification, in order, each once.

    A specification may list values, as ``jpeg:q=10,30,50``. Of several lists, all combinations
    count. Two settings are one where fingerprint and device are the same. The path of a file with
    a comma in its name stands in quotes: ``salient:weights="a,b.safetensors"``.

    >>> [codec.setting for codec in load_codecs("webp:q=10,30,method=4", "webp:q=30")]
    ['q=10,method=4', 'q=30,method=4']

    Raises:
        SettingError, CodecUnavailableError: As :func:`load_codec`.
    """
    codecs = [codec for spec in specs for codec in _settings(spec)]
    return list({(codec.fingerprint, codec.device): codec for codec in codecs}.values())


class OptionRow(NamedTuple):
    """One line of the table of all codecs' options."""

    codec: str
    option: str
    """Empty in the one line of a codec without options."""
    meaning: str
    valid: str
    """Which values are valid: ``an integer from 1 to 100``."""
    default: str


def option_table() -> list[OptionRow]:
    """The options of every codec, in the order of :data:`CODECS`.

    >>> option_table()[0]
    OptionRow(codec='jpeg', option='q', meaning='quality', valid='an integer from 1 to 100', \
default='75')
    """
    rows = []
    for name, codec in CODECS.items():
        for key, option in codec.OPTIONS.items():
            rows.append(OptionRow(name, key, option.meaning, option.valid, option.default_text))
        if not codec.OPTIONS:
            rows.append(OptionRow(name, "", "takes no options", "", ""))
    return rows


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
    check_options(spec, parsed, {key: o.description for key, o in codec.OPTIONS.items()})
    combinations = itertools.product(*parsed.options.values())
    return [codec(**dict(zip(parsed.options, values))) for values in combinations]
