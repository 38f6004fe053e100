"""Every constant of the .salc format, once."""

CELL = 64
"""Side in pixels of the squares that have a quality level each."""


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells of an image; the last ones may reach beyond its edge."""
    return -(-height // CELL), -(-width // CELL)
