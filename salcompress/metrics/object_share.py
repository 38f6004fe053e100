"""How much of the bits spent on an image lies on a part of it."""

import numpy as np


def bits_on_mask(bits: np.ndarray, mask: np.ndarray, side: int) -> float:
    """Bits on a mask; those of a place that it covers in part count in that part, those beyond the
    image's edge with the edge.

    Args:
        bits: At each place of the padded image, (rows, columns).
        mask: bool (H, W).
        side: Of a place, in pixels; rows x side >= H.
    """
    height, width = mask.shape
    rows, columns = bits.shape
    padded = np.pad(mask, ((0, rows * side - height), (0, columns * side - width)), mode="edge")
    covered = padded.reshape(rows, side, columns, side).mean((1, 3))
    return float((bits * covered).sum())
