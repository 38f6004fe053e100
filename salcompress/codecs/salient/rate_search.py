"""The quality level that meets a target on one image: bits and PSNR rise with the level.

Where the encoder searches for its latents, too, coding at a level takes long. What coding without
that search says of a level is then where the trials begin; what they decide is decided by streams
with it.
"""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.errors import SettingError

if TYPE_CHECKING:
    from salcompress.codecs.salient.codec import SalientCodec

Meets = Callable[[int, int], bool]
"""Whether coding with an effort, at a level, meets the target."""


def quality_of(level: int) -> float:
    """Base quality of a level, in [0, 1]."""
    return level / (NUM_LEVELS - 1)


def check_target(name: str, value: float) -> None:
    """Raise unless a target can be one.

    Args:
        name: ``bpp`` or ``psnr``.
        value: The target: bits per pixel, or dB.

    Raises:
        SettingError: It is not a positive number.
    """
    if not 0 < value < math.inf:
        unit = {"bpp": "bits per pixel, as 0.3", "psnr": "decibels, as 32"}[name]
        raise SettingError(f"target {name} must be a positive number of {unit}; got {value:g}")


def level_for_bpp(codec: "SalientCodec", image: np.ndarray, bpp: float) -> int:
    """The highest level at which the stream of an image costs at most ``bpp`` bits per pixel.

    Raises:
        SettingError: ``bpp`` is not positive, or even level 0 costs more.
    """
    check_target("bpp", bpp)

    @functools.cache
    def bpp_of(effort: int, level: int) -> float:
        stream = codec.with_quality(quality_of(level)).with_effort(effort).encode(image)
        return 8 * len(stream) / (image.shape[0] * image.shape[1])

    level = last_level(lambda effort, level: bpp_of(effort, level) <= bpp, codec.effort)
    if level is None:
        raise SettingError(
            f"target {bpp:g} bpp is out of reach for this image: even the lowest quality, q=0, "
            f"costs {bpp_of(codec.effort, 0):.4f} bpp"
        )
    return level


def level_for_psnr(codec: "SalientCodec", image: np.ndarray, psnr: float) -> int:
    """The lowest level that reaches ``psnr`` dB on an image.

    Raises:
        SettingError: ``psnr`` is not positive, or even level 63 does not reach it.
    """
    from salcompress.metrics.psnr_ssim import psnr as measure

    check_target("psnr", psnr)

    @functools.cache
    def psnr_of(effort: int, level: int) -> float:
        found = codec.with_quality(quality_of(level)).with_effort(effort).reconstruct(image)
        decibels = measure(image, found.image)
        return math.inf if decibels is None else decibels

    level = first_level(lambda effort, level: psnr_of(effort, level) >= psnr, codec.effort)
    if level is None:
        raise SettingError(
            f"target {psnr:g} dB is out of reach for this image: even the highest quality, q=1, "
            f"reaches {psnr_of(codec.effort, NUM_LEVELS - 1):.2f} dB"
        )
    return level


def last_level(keeps: Meets, effort: int) -> int | None:
    """The highest quality level, 0 .. 63, that keeps a bound which low levels keep and high ones
    break; None where not even level 0 keeps it.

    Args:
        keeps: Whether coding with an effort keeps it at a level.
        effort: Of the encoder's search.
    """
    found = _last(lambda level: keeps(0, level), first=0, step=NUM_LEVELS // 2)
    if effort:
        found = _last(lambda level: keeps(effort, level), first=max(found, 0))
    return None if found < 0 else found


def first_level(reaches: Meets, effort: int) -> int | None:
    """The lowest quality level, 0 .. 63, that reaches a target which high levels reach and low ones
    miss; None where not even level 63 reaches it.

    Args:
        reaches: Whether coding with an effort reaches it at a level.
        effort: Of the encoder's search.
    """
    last = NUM_LEVELS - 1
    # counted from the top, the highest count that still reaches the target is the lowest level
    found = last_level(lambda effort, below: reaches(effort, last - below), effort)
    return None if found is None else last - found


def _last(holds: Callable[[int], bool], first: int, step: int = 1) -> int:
    """The last of 0 .. 63 for which something holds that holds up to a place and not beyond; -1 if
    for none.

    Trials begin at ``first`` and go on in steps that double, until one says otherwise; what lies
    between the last two is halved.
    """
    low, high = -1, NUM_LEVELS  # holds at low, not at high
    trial = first
    while high - low > 1:
        if holds(trial):
            low = trial
        else:
            high = trial
        if low >= 0 and high < NUM_LEVELS:
            trial = (low + high) // 2
        else:
            trial = min(low + step, NUM_LEVELS - 1) if low >= 0 else max(high - step, 0)
            step *= 2
    return low
