"""How much of the bits spent on an image lies on a part of it."""

import numpy as np


def bits_on_mask(bits: np.ndarray, mask: np.ndarray, side: int) -> float:
    """Bits on a mask: the sum over places of their bits times the share of them that it covers.

    Places beyond the image's edge are covered as the edge is. The measure is our choice.

    Args:
        bits: Bits at each place of the padded image, (rows, columns).
        mask: bool (H, W).
        side: Side of a place in pixels; rows x side is at least H, columns x side at least W.

    Returns:
        Bits, from 0 to the sum of ``bits``.

    >>> left_half = np.array([[True, False], [True, False]])
    >>> bits_on_mask(np.array([[8.0]]), left_half, side=2)
    4.0
    """
    height, width = mask.shape
    rows, columns = bits.shape
    padded = np.pad(mask, ((0, rows * side - height), (0, columns * side - width)), mode="edge")
    covered = padded.reshape(rows, side, columns, side).mean((1, 3))
    return float((bits * covered).sum())
