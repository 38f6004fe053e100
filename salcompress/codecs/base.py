"""What a codec is, and what its options are."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from salcompress.errors import SettingError


class Option(NamedTuple):
    """One option of a codec."""

    default: Any
    convert: Callable[[Any], Any]
    """Makes the value from what was given, often text. It raises ValueError for what is not valid.
    """
    meaning: str
    """What the option is, as a noun: ``quality``."""
    valid: str
    """Which values are valid, as a noun: ``an integer from 1 to 100``."""
    if_none: str = ""
    """What the default None stands for, where it is the default."""

    @property
    def default_text(self) -> str:
        """The default as a person would say it."""
        return self.if_none if self.default is None else str(self.default)

    @property
    def description(self) -> str:
        """Meaning, valid values and default in one line."""
        return f"{self.meaning}, {self.valid} ({self.default_text} if not given)"


def integer_option(default: int, low: int, high: int, meaning: str) -> Option:
    """An option that is an integer from ``low`` to ``high``."""

    def convert(value: Any) -> int:
        converted = int(str(value))
        if not low <= converted <= high:
            raise ValueError
        return converted

    return Option(default, convert, meaning, f"an integer from {low} to {high}")


def number_option(
    default: float, low: float, high: float, meaning: str, above_low: bool = False
) -> Option:
    """An option that is a number from ``low`` to ``high``; ``above_low`` excludes ``low``."""

    def convert(value: Any) -> float:
        try:
            converted = float(value)
        except TypeError:
            converted = math.nan
        if not low <= converted <= high or (above_low and converted == low):
            raise ValueError
        return converted

    valid = f"a number above {low:g} and at most" if above_low else f"a number from {low:g} to"
    return Option(default, convert, meaning, f"{valid} {high:g}")


def choice_option(default: Any, choices: tuple, meaning: str) -> Option:
    """An option that is one of some names or integers."""
    by_text = {str(choice): choice for choice in choices}

    def convert(value: Any) -> Any:
        if str(value) not in by_text:
            raise ValueError
        return by_text[str(value)]

    return Option(default, convert, meaning, f"one of {', '.join(by_text)}")


def convert_options(codec: "type[Codec]", given: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values of all options of a codec class; defaults stand for those that are not given.

    Raises:
        SettingError: An option does not exist, or its value is not valid. The message names it
            and says what is valid.
    """
    unknown = sorted(set(given) - set(codec.OPTIONS))
    if unknown:
        valid = ", ".join(codec.OPTIONS) or "none"
        raise SettingError(f"{codec.name} has no option {unknown[0]!r}; valid options: {valid}")
    values = {}
    for key, option in codec.OPTIONS.items():
        try:
            values[key] = option.convert(given[key]) if key in given else option.default
        except ValueError:
            raise SettingError(
                f"{codec.name}: {key} ({option.meaning}) must be {option.valid}, got {given[key]!r}"
            ) from None
    return values


class CodingMaps(NamedTuple):
    """What a codec with a quality map did where.

    Each is float32 (rows, columns), over the 16x16 places of the padded image.
    """

    saliency: np.ndarray
    """Mean of the saliency map that steered the encoder, in [0, 1]."""
    quality: np.ndarray
    """Quality in the stream, in [0, 1]."""
    bits: np.ndarray
    """Bits by the integer tables of the coder. The quality map counts, and the header does not."""


class Codec(Protocol):
    """Bytes out of an image and back, at one setting that is fixed at construction.

    A codec is a class with ``OPTIONS``. It is constructed with these as keyword arguments, and
    listed in :data:`salcompress.codecs.CODECS`. Its objects can be pickled, and used in several
    processes, forked ones too.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    name: str
    """As in a specification: ``jpeg``."""
    setting: str
    """Every option that changes the rate, defaults too: ``q=30,subsampling=420``."""
    fingerprint: str
    """Name, setting, and the version or weights of what codes. A stream of one codec stands for
    that of any other with the same fingerprint.
    """
    device: str | None = None
    """Where it computes, if it was told. It is no part of the setting: streams do not depend on it.
    """

    @property
    def label(self) -> str:
        """Codec and setting as a specification: ``jpeg:q=30,subsampling=420``."""
        return f"{self.name}:{self.setting}" if self.setting else self.name

    def __repr__(self) -> str:
        where = f" on {self.device}" if self.device else ""
        return f"<{type(self).__name__} {self.label}{where}>"

    def encode(self, image: np.ndarray) -> bytes:
        """The compressed stream, a whole file with its headers.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            SettingError: ``image`` is no such array, or of a size that the format does not have.
        """
        ...

    def decode(self, stream: bytes) -> np.ndarray:
        """The image, uint8 (H, W, 3), RGB.

        Raises:
            BitstreamError: The stream is truncated, damaged, or not of this codec.
        """
        ...

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps | None:
        """Saliency, quality and bits by place of a stream that this codec made of ``image``.

        A codec that knows no places gives None.
        """
        return None
