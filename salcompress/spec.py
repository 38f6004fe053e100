"""Specifications in one line of text: ``name:option=value,option=value``, or
``name:argument,option=value``.

A comma ends a value, and an option may have several: ``q=10,30``. A value with a comma of its own,
such as the path of a file, stands in single or double quotes: ``weights="a,b.safetensors"``. A
shell takes quotes away unless the whole specification stands in quotes of the other kind.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from salcompress.errors import SettingError

_PIECE = re.compile(
    r"""
    \s* (?: (?P<key> [^=,'"]* ) (?P<equals> = ) )? \s*
    (?: "(?P<double> [^"]* )" | '(?P<single> [^']* )' | (?P<bare> [^,]*? ) ) \s* (?: , | $ )
    """,
    re.VERBOSE,
)


class Spec(NamedTuple):
    """A parsed specification."""

    name: str
    argument: str | None
    """What stands after the colon without an option's name."""
    options: Mapping[str, tuple[str, ...]]
    """Values by option; ``q=10,30`` gives two."""


def parse_spec(text: str) -> Spec:
    """Take a specification apart. A piece without ``=`` is one more value of the option before it.

    >>> parse_spec("jpeg:q=10,30,subsampling=444").options
    {'q': ('10', '30'), 'subsampling': ('444',)}
    >>> parse_spec("salient:weights='a,b.safetensors',q=0.3").options
    {'weights': ('a,b.safetensors',), 'q': ('0.3',)}

    Raises:
        SettingError: ``text`` is no text, the name is empty, an option has no name or no value, or
            comes twice, or a quote is not closed.
    """
    if not isinstance(text, str):
        raise SettingError(
            f"a specification must be text such as 'jpeg:q=30', got {type(text).__name__}"
        )
    name, _, rest = text.partition(":")
    argument: str | None = None
    options: dict[str, tuple[str, ...]] = {}
    last = None
    if not name.strip():
        raise SettingError(f"{text!r} names nothing; write name:option=value")
    for key, value, piece in _pieces(text, rest):
        if not value or key == "" or key in options:
            raise SettingError(f"{text!r}: {piece!r} is not option=value, or comes twice")
        if key is not None:
            options[key], last = (value,), key
        elif last is not None:
            options[last] += (value,)
        elif argument is None:
            argument = value
        else:
            raise SettingError(f"{text!r}: {piece!r} is not option=value")
    return Spec(name.strip(), argument, options)


def _pieces(text: str, rest: str) -> list[tuple[str | None, str, str]]:
    """Option (None without ``=``), value and text of each piece; two commas in a row are one."""
    pieces, place = [], 0
    while place < len(rest):
        match = _PIECE.match(rest, place)
        assert match is not None, "a bare value matches whatever there is up to the next comma"
        key, equals, double, single, bare = match.groups()
        if bare and bare[0] in "'\"":
            raise SettingError(
                f"{text!r}: the quote before {bare[1:]!r} is not closed, or text follows it; write "
                "option='a value in quotes'"
            )
        place = match.end()
        if bare == "" and not equals:
            continue
        value = next(v for v in (double, single, bare) if v is not None)
        pieces.append((key.strip() if equals else None, value, match.group().strip().rstrip(",")))
    return pieces


def quote_value(value: str) -> str:
    """A value as a specification has to write it: in quotes where it would not come back without.

    >>> quote_value("a.safetensors"), quote_value("a,b.safetensors")
    ('a.safetensors', '"a,b.safetensors"')

    Raises:
        SettingError: The value is empty, or it needs quotes and has both kinds in it.
    """
    if not value:
        raise SettingError("a specification cannot hold an empty value; leave the option out")
    if value == value.strip() and not set(value) & set(",=") and value[0] not in "'\"":
        return value
    for quote in ('"', "'"):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise SettingError(
        f"{value!r} has a comma or an equals sign, and quotes of both kinds, so no specification "
        "can hold it; rename the file"
    )


def single_options(text: str, spec: Spec, allowed: Mapping[str, str]) -> dict[str, str]:
    """The options of a specification that takes one value each.

    Args:
        text: The specification as written, for the message.
        allowed: What each option means, by name.

    Raises:
        SettingError: An option is unknown, or has several values.
    """
    check_options(text, spec, allowed)
    several = [key for key, values in spec.options.items() if len(values) > 1]
    if several:
        raise SettingError(
            f"{text!r}: option {several[0]} takes one value, got "
            f"{', '.join(spec.options[several[0]])}"
        )
    return {key: values[0] for key, values in spec.options.items()}


def check_options(text: str, spec: Spec, allowed: Mapping[str, str]) -> None:
    """Raise for an option that is not among ``allowed``.

    Raises:
        SettingError: Names the option and lists the valid ones.
    """
    for key in spec.options:
        if key not in allowed:
            valid = "; ".join(f"{name}: {meaning}" for name, meaning in allowed.items()) or "none"
            raise SettingError(
                f"{text!r}: {spec.name} has no option {key!r}; valid options: {valid}"
            )
