"""The quality level that meets a target on one image: bits and PSNR rise with the level.

Where the encoder searches for its latents, too, coding at a level takes long. What coding without
that search says of a level is then where the trials begin; what they decide is decided by streams
with it.
"""

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


def level_for_bpp(codec: "SalientCodec", image: np.ndarray, bpp: float) -> int:
    """The highest level at which the stream of an image costs at most ``bpp`` bits per pixel.

    Raises:
        SettingError: Even level 0 costs more.
    """
    limit = bpp * image.shape[0] * image.shape[1]

    def keeps(effort: int, level: int) -> bool:
        stream = codec.with_quality(quality_of(level)).with_effort(effort).encode(image)
        return 8 * len(stream) <= limit

    return last_level(keeps, codec.effort, f"{bpp:g} bpp")


def level_for_psnr(codec: "SalientCodec", image: np.ndarray, psnr: float) -> int:
    """The lowest level that reaches ``psnr`` dB on an image.

    Raises:
        SettingError: Even level 63 does not.
    """
    from salcompress.metrics.psnr_ssim import psnr as measure

    def reaches(effort: int, level: int) -> bool:
        found = codec.with_quality(quality_of(level)).with_effort(effort).reconstruct(image)
        return (measure(image, found.image) or np.inf) >= psnr

    return first_level(reaches, codec.effort, f"{psnr:g} dB")


def last_level(keeps: Meets, effort: int, target: str) -> int:
    """The highest quality level, 0 .. 63, that keeps a bound which low levels keep and high ones
    break.

    Args:
        keeps: Whether coding with an effort keeps it at a level.
        effort: Of the encoder's search.
        target: What it is, for the error.

    Raises:
        SettingError: Not even level 0 keeps it.
    """
    found = _last(lambda level: keeps(0, level), first=0, step=NUM_LEVELS // 2)
    if effort:
        found = _last(lambda level: keeps(effort, level), first=max(found, 0))
    if found < 0:
        raise SettingError(
            f"target {target} is out of reach for this image: even the lowest quality, q=0, "
            "costs more"
        )
    return found


def first_level(reaches: Meets, effort: int, target: str) -> int:
    """The lowest quality level, 0 .. 63, that reaches a target which high levels reach and low ones
    miss.

    Args:
        reaches: Whether coding with an effort reaches it at a level.
        effort: Of the encoder's search.
        target: What it is, for the error.

    Raises:
        SettingError: Not even level 63 reaches it.
    """
    last = NUM_LEVELS - 1
    # levels counted from the top: the highest count that still reaches it is the lowest such level
    found = _last(lambda below: reaches(0, last - below), first=0, step=NUM_LEVELS // 2)
    if effort:
        found = _last(lambda below: reaches(effort, last - below), first=max(found, 0))
    if found < 0:
        raise SettingError(
            f"target {target} is out of reach for this image: even the highest quality, q=1, is "
            "worse"
        )
    return last - found


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
