"""Specifications in one line of text: ``name:option=value,option=value``, or
``name:argument,option=value``.
"""

from collections.abc import Mapping
from typing import NamedTuple

from salcompress.errors import SettingError


class Spec(NamedTuple):
    """A parsed specification."""

    name: str
    argument: str | None
    """What stands after the colon without an option's name."""
    options: Mapping[str, tuple[str, ...]]
    """Values by option; ``q=10,30`` gives two."""


def parse_spec(text: str) -> Spec:
    """Take a specification apart; a piece without ``=`` is one more value of the option before it.

    >>> parse_spec("jpeg:q=10,30,subsampling=444").options
    {'q': ('10', '30'), 'subsampling': ('444',)}

    Raises:
        SettingError: The name is empty, an option has no name or no value, or comes twice.
    """
    name, _, rest = text.partition(":")
    argument, options, key = None, {}, None
    if not name.strip():
        raise SettingError(f"{text!r} names nothing; write name:option=value")
    for piece in filter(None, (p.strip() for p in rest.split(","))):
        before, equals, value = piece.partition("=")
        if equals:
            key = before.strip()
            if not key or not value.strip() or key in options:
                raise SettingError(f"{text!r}: {piece!r} is not option=value, or comes twice")
            options[key] = (value.strip(),)
        elif key is not None:
            options[key] += (piece,)
        elif argument is None:
            argument = piece
        else:
            raise SettingError(f"{text!r}: {piece!r} is not option=value")
    return Spec(name.strip(), argument, options)


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
