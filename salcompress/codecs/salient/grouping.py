"""Which images share a batch."""

from collections.abc import Sequence

CELLS_AT_ONCE = 3072
"""Cells, 12.6 megapixels, that go through the networks in one batch unless one image has more."""

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of images of a batch for which there are CUDA graphs: each serves smaller batches, too,
which lose a third of the time at the most.
"""


def bucket(num_images: int) -> int:
    """The smallest of ``BUCKETS`` that holds a number of images, 1 to 16.

    >>> bucket(5)
    6
    """
    return next(size for size in BUCKETS if size >= num_images)


def at_most(groups: Sequence[list[int]], most: int) -> list[list[int]]:
    """Groups cut into such of at most so many members.

    >>> at_most([[0, 1, 2], [3]], 2)
    [[0, 1], [2], [3]]
    """
    return [group[start : start + most] for group in groups for start in range(0, len(group), most)]


def by_shape(
    shapes: Sequence[tuple[int, int]], cells_at_once: int = CELLS_AT_ONCE
) -> list[list[int]]:
    """Numbers of images that go through the networks together: of one shape, in cells, and few
    enough to bound memory.
    """
    members: dict[tuple[int, int], list[int]] = {}
    for k, shape in enumerate(shapes):
        members.setdefault(shape, []).append(k)
    most = {shape: max(1, cells_at_once // (shape[0] * shape[1])) for shape in members}
    return [
        found[start : start + most[shape]]
        for shape, found in members.items()
        for start in range(0, len(found), most[shape])
    ]


def in_one_batch(
    shapes: Sequence[tuple[int, int]], cells_at_once: int = CELLS_AT_ONCE
) -> list[list[int]]:
    """Numbers of images that go through the networks together, whatever their shapes: as many as
    have ``cells_at_once`` cells with their padding.
    """
    groups: list[list[int]] = []
    rows = columns = 0
    for k in sorted(
        range(len(shapes)), key=lambda k: shapes[k], reverse=True
    ):  # sorted, so that what is alike comes together
        rows, columns = max(rows, shapes[k][0]), max(columns, shapes[k][1])
        if groups and (len(groups[-1]) + 1) * rows * columns <= cells_at_once:
            groups[-1].append(k)
        else:
            groups.append([k])
            rows, columns = shapes[k]
    return groups
