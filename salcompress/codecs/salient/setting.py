"""The setting of the learned codec: what arguments mean, what labels and fingerprints say."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.codecs.base import Codec, convert_options
from salcompress.codecs.salient.known_weights import WEIGHTS, find_weights, name_of
from salcompress.codecs.salient.steering import SaliencyFunction, named_function
from salcompress.saliency.functions import (
    network_fingerprint,
    network_saliency,
    uniform_saliency,
)
from salcompress.spec import quote_value

if TYPE_CHECKING:
    from typing_extensions import Self

    from salcompress.models.compression_model import TrainedWith


@dataclass(frozen=True)
class Setting:
    """All that decides what an image is coded to. Every value has been checked."""

    quality: float
    """Base quality in [0, 1]."""
    saliency: SaliencyFunction
    steering: str
    """What the saliency function is called in labels."""
    saliency_strength: float
    """Quality levels, of 64, between a cell of saliency 0 and one of saliency 1."""
    effort: int
    """Steps of the encoder's search; 0 where it does not search."""
    weights: Path

    @property
    def label(self) -> str:
        """All options that change the stream, as a specification has them."""
        options = self._options(quote_value(self.steering))
        if self.weights == WEIGHTS:
            return options
        return f"{options},weights={quote_value(name_of(self.weights))}"

    def fingerprint(self, model_fingerprint: bytes, trained_with: "TrainedWith") -> str:
        """What names the streams by content alone.

        Args:
            model_fingerprint: The fingerprint of the codec's networks.
            trained_with: What their training weighed, since a search weighs likewise.
        """
        used = [model_fingerprint.hex()]
        if self.saliency is network_saliency:
            used.append(network_fingerprint())
        if self.effort:
            used += trained_with.departures()
        # a source may name files, and then has a fingerprint of their content
        steering = getattr(self.saliency, "fingerprint", self.steering)
        return f"salient:{self._options(steering)}@{'+'.join(used)}"

    def _options(self, steering: str) -> str:
        """The options but the weights, with what is said to steer."""
        parts = [f"q={self.quality!r}", f"saliency={steering}"]
        if self.saliency is not uniform_saliency:
            parts.append(f"saliency_strength={_short(self.saliency_strength)}")
        if self.effort:
            parts.append(f"effort={self.effort}")
        return ",".join(parts)


class WithSetting(Codec):
    """A codec that is known by a :class:`Setting`, which nobody changes."""

    _setting: Setting

    @property
    def setting(self) -> str:  # type: ignore[override]  # the protocol's attribute is read alone
        return self._setting.label

    @property
    def quality(self) -> float:
        """Base quality in [0, 1]."""
        return self._setting.quality

    @property
    def base_level(self) -> int:
        """Base quality as the stream has it, 0 .. 63."""
        return round(self.quality * (NUM_LEVELS - 1))

    @property
    def saliency(self) -> SaliencyFunction:
        """What steers the bits."""
        return self._setting.saliency

    @property
    def saliency_strength(self) -> float:
        """Quality levels, of 64, between a cell of saliency 0 and one of saliency 1."""
        return self._setting.saliency_strength

    @property
    def effort(self) -> int:
        """Steps of the encoder's search; 0 where it does not search."""
        return self._setting.effort

    @property
    def weights(self) -> Path:
        """The weight file."""
        return self._setting.weights

    def _with(self, **changes: Any) -> "Self":
        """The same codec with fields of its setting changed, sharing its networks."""
        other = copy.copy(self)
        other._setting = replace(self._setting, **changes)
        return other


def checked_setting(
    codec: type[Codec], q: Any, saliency: Any, saliency_strength: Any, effort: Any, weights: Any
) -> Setting:
    """The setting that a caller's arguments mean.

    Args:
        codec: The class whose options they are.
        q, saliency_strength, effort: Numbers, or numbers as text.
        saliency: A source of :mod:`salcompress.saliency.sources`, a function, or a map (H, W).
        weights: A name or a file, as of :func:`~.known_weights.find_weights`.

    Raises:
        SettingError: One of them is not valid.
    """
    given = {
        "q": q,
        "saliency": saliency if isinstance(saliency, str) else "uniform",
        "saliency_strength": saliency_strength,
        "effort": effort,
    }
    options = convert_options(codec, given)
    return Setting(
        options["q"],
        *named_function(saliency),
        options["saliency_strength"],
        options["effort"],
        find_weights(weights),
    )


def _short(number: float) -> str:
    """A number as a person would write it, and exactly."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
