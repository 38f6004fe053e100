"""The quality level that meets a target on one image, by bisection: bits and PSNR rise with the level."""
from collections.abc import Callable

from salcompress.bitstream.container import NUM_LEVELS
from salcompress.errors import SettingError


def last_level(keeps: Callable[[int], bool], target: str) -> int:
    """The highest quality level, 0 .. 63, that keeps a bound which low levels keep and high ones break.

    Args:
        keeps: Whether a level keeps it.
        target: What it is, for the error.

    Raises:
        SettingError: Not even level 0 keeps it.
    """
    if not keeps(0):
        raise SettingError(f"target {target} is out of reach for this image: even the lowest quality, q=0, costs more")
    low, high = 0, NUM_LEVELS - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle - 1)
    return low


def first_level(reaches: Callable[[int], bool], target: str) -> int:
    """The lowest quality level, 0 .. 63, that reaches a target which high levels reach and low ones miss.

    Args:
        reaches: Whether a level reaches it.
        target: What it is, for the error.

    Raises:
        SettingError: Not even level 63 reaches it.
    """
    if not reaches(NUM_LEVELS - 1):
        raise SettingError(f"target {target} is out of reach for this image: even the highest quality, q=1, is worse")
    low, high = 0, NUM_LEVELS - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle + 1, high)
    return low
