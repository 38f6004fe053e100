"""Human judgements of pictures, read from files.

They are triplets, in a CSV file or in the folders of BAPPS, or opinion scores, in a CSV file.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_size


class Triplet(NamedTuple):
    """Two versions of a picture, and which is closer to it."""

    reference: Path
    a: Path
    b: Path
    fraction: float
    """Share of judges, in [0, 1], to whom a is the closer one."""


class Opinion(NamedTuple):
    """A version of a picture and what people think of it."""

    reference: Path
    image: Path
    score: float
    group: str
    """Name of a group, such as a codec or a session, within which there is an order, too. It is ""
    where the file has no groups.
    """


def read_triplets(path: Path) -> list[Triplet]:
    """Read the triplets of a CSV file with the columns reference, a, b and fraction.

    Paths are relative to the folder of the file.

    Raises:
        SettingError: The file does not exist.
        DataError: A row is bad: a column or an image is missing, sizes differ, or the fraction is
            not in [0, 1]. The message names the line of the first such row.
    """
    found = []
    for place, row in _rows(path, ("reference", "a", "b", "fraction"), ()):
        reference, a, b = (_image(path, place, row, column) for column in ("reference", "a", "b"))
        fraction = _number(place, row, "fraction")
        if not 0 <= fraction <= 1:
            raise DataError(
                f"{place}: fraction must be in [0, 1], got {row['fraction']!r}; it is not rescaled"
            )
        _check_sizes(place, [reference, a, b])
        found.append(Triplet(reference, a, b, fraction))
    return found


def read_opinions(path: Path) -> list[Opinion]:
    """Read the opinion scores of a CSV file.

    Its columns are reference, image and score, and group if wanted. Paths are relative to the
    folder of the file.

    Raises:
        SettingError: The file does not exist.
        DataError: A row is bad: a column or an image is missing, sizes differ, or the score is no
            finite number. The message names the line of the first such row.
    """
    found = []
    for place, row in _rows(path, ("reference", "image", "score"), ("group",)):
        reference, image = (_image(path, place, row, column) for column in ("reference", "image"))
        _check_sizes(place, [reference, image])
        score = _number(place, row, "score")
        found.append(Opinion(reference, image, score, row.get("group") or ""))
    return found


def read_bapps(folder: Path) -> list[Triplet]:
    """Read the triplets of a folder in the layout of BAPPS (2afc), and of all such folders below.

    A triplet is ``ref/NAME.png``, ``p0/NAME.png``, ``p1/NAME.png`` and ``judge/NAME.npy``, which is
    the share of the judges who chose p1. The layout is that of Zhang et al., "The unreasonable
    effectiveness of deep features as a perceptual metric", CVPR 2018.

    Raises:
        SettingError: The folder does not exist or holds none.
        DataError: A file is bad: an image is missing, sizes differ, or the judgement is not one
            number in [0, 1]. The message names the first such file.
    """
    found = []
    for judge in sorted(Path(folder).rglob("judge/*.npy")):
        reference, a, b = (_beside(judge, part) for part in ("ref", "p0", "p1"))
        try:
            value = np.load(judge, allow_pickle=False).reshape(-1)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{judge}: not a judgement: {error}") from error
        if value.size != 1 or not np.issubdtype(value.dtype, np.number) or not 0 <= value[0] <= 1:
            raise DataError(f"{judge}: a judgement is one number in [0, 1], got {value[:4]}")
        _check_sizes(judge, [reference, a, b])
        found.append(Triplet(reference, a, b, 1 - float(value[0])))
    if not found:
        raise SettingError(f"{folder} holds no judge/*.npy beside ref, p0 and p1")
    return found


def _rows(
    path: Path, needed: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, each with what to call it in an error."""
    if not Path(path).is_file():
        raise SettingError(f"{path} does not exist")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if set(needed) - set(columns) or set(columns) - {*needed, *optional}:
                raise DataError(
                    f"{path}, line 1: columns must be "
                    f"{','.join(needed)}{''.join(f'[,{c}]' for c in optional)}, "
                    f"got {','.join(columns)}"
                )
            empty = True
            for row in reader:
                empty = False
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(
                        f"{place}: {len(columns)} columns are wanted, as in the first line"
                    )
                yield place, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if empty:
        raise DataError(f"{path} has no rows")


def _image(path: Path, place: str, row: dict[str, str], column: str) -> Path:
    image = Path(path).parent / row[column]
    if not row[column] or not image.is_file():
        raise DataError(f"{place}: {column} {row[column]!r} does not exist")
    return image


def _number(place: str, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: {column} must be a finite number, got {row[column]!r}")
    return value


def _beside(judge: Path, part: str) -> Path:
    for ending in sorted(IMAGE_ENDINGS):
        path = judge.parents[1] / part / f"{judge.stem}{ending}"
        if path.is_file():
            return path
    raise DataError(f"{judge}: there is no {part}/{judge.stem} with it")


def _check_sizes(place: str | Path, images: Sequence[Path]) -> None:
    try:
        sizes = [read_size(image) for image in images]
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    for image, size in zip(images, sizes):
        if size != sizes[0]:
            raise DataError(
                f"{place}: {image.name} is {size[1]}x{size[0]} and {images[0].name} "
                f"{sizes[0][1]}x{sizes[0][0]} (width x height); nothing is rescaled"
            )
