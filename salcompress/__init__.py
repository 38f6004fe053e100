"""salcompress: what compression costs a detector, and how to get it back.

``load_codec("jpeg:q=30")`` gives a codec. Its ``encode`` turns an image into bytes, and its
``decode`` turns the bytes into an image. Only ``salcompress.detectron`` needs Detectron2.

Importing the package is cheap: each public name is imported from its room when it is first used.
Importing also prepares this process for OpenMP (see :mod:`salcompress.process`).
"""

import importlib
from typing import TYPE_CHECKING, Any

from salcompress import process as _process

if TYPE_CHECKING:
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

_ROOMS = {"bitstream", "codecs", "errors", "files", "image", "saliency", "spec"}
_CODECS = {"CachedCodec", "Codec", "SalientCodec", "load_codec", "load_codecs"}

_process.let_idle_threads_sleep()
_process.compute_on_one_thread_after_a_fork()


def __getattr__(name: str) -> Any:
    """Import a public name, or one of the rooms that need no more than it, when first used."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "codecs" if name in _CODECS else "errors"
    value = getattr(importlib.import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
