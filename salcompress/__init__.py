"""salcompress: what compression costs a detector, and how to get it back.

``load_codec("jpeg:q=30")`` gives a codec, ``encode`` and ``decode`` on it bytes and images.
Detectron2 is needed by ``salcompress.detectron`` alone.
"""

from salcompress.codecs import CachedCodec, Codec, SalientCodec, load_codec, load_codecs
from salcompress.errors import (
    BitstreamError,
    CodecUnavailableError,
    CorruptError,
    DataError,
    ModelMismatchError,
    OutputError,
    SalcompressError,
    SettingError,
    TruncatedError,
)

__version__ = "0.2.0"

__all__ = [
    "BitstreamError",
    "CachedCodec",
    "Codec",
    "CodecUnavailableError",
    "CorruptError",
    "DataError",
    "ModelMismatchError",
    "OutputError",
    "SalcompressError",
    "SalientCodec",
    "SettingError",
    "TruncatedError",
    "__version__",
    "load_codec",
    "load_codecs",
]
