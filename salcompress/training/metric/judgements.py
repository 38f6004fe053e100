"""Human judgements of pictures, read from files: triplets in a CSV or in the folders of BAPPS, and
opinion scores.
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
    """Rank correlation is also given within groups (a codec, a session); "" where the file has
    none.
    """


def read_triplets(path: Path) -> list[Triplet]:
    """Triplets of a CSV file with the columns reference, a, b, fraction; paths are relative to the
    file's folder.

    Raises:
        SettingError: The file does not exist.
        DataError: Names the line of the first bad row: a column or an image is missing, sizes
            differ, the fraction is not in [0, 1].
    """
    found = []
    for place, row in _rows(path, ("reference", "a", "b", "fraction"), ()):
        images = [_image(path, place, row, column) for column in ("reference", "a", "b")]
        fraction = _number(place, row, "fraction")
        if not 0 <= fraction <= 1:
            raise DataError(
                f"{place}: fraction must be in [0, 1], got {row['fraction']!r}; it is not rescaled"
            )
        _check_sizes(place, images)
        found.append(Triplet(*images, fraction))
    return found


def read_opinions(path: Path) -> list[Opinion]:
    """Opinion scores of a CSV file with the columns reference, image, score and, if wanted, group;
    paths as in :func:`read_triplets`.

    Raises:
        SettingError: The file does not exist.
        DataError: Names the line of the first bad row: a column or an image is missing, sizes
            differ, the score is no finite number.
    """
    found = []
    for place, row in _rows(path, ("reference", "image", "score"), ("group",)):
        images = [_image(path, place, row, column) for column in ("reference", "image")]
        _check_sizes(place, images)
        found.append(Opinion(*images, _number(place, row, "score"), row.get("group") or ""))
    return found


def read_bapps(folder: Path) -> list[Triplet]:
    """Triplets of a folder in the layout of BAPPS (2afc): ``ref/NAME.png``, ``p0/NAME.png``,
    ``p1/NAME.png`` and ``judge/NAME.npy``, the share of judges who chose p1; or of all such folders
    below it.

    Raises:
        SettingError: The folder does not exist or holds none.
        DataError: Names the first bad file: an image is missing, sizes differ, the judgement is not
            one number in [0, 1].
    """
    found = []
    for judge in sorted(Path(folder).rglob("judge/*.npy")):
        images = [_beside(judge, part) for part in ("ref", "p0", "p1")]
        try:
            value = np.load(judge, allow_pickle=False).reshape(-1)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{judge}: not a judgement: {error}") from error
        if value.size != 1 or not np.issubdtype(value.dtype, np.number) or not 0 <= value[0] <= 1:
            raise DataError(f"{judge}: a judgement is one number in [0, 1], got {value[:4]}")
        _check_sizes(judge, images)
        found.append(Triplet(*images, 1 - float(value[0])))
    if not found:
        raise SettingError(f"{folder} holds no judge/*.npy beside ref, p0 and p1")
    return found


def _rows(
    path: Path, needed: Sequence[str], optional: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file, each with what to call it in an error."""
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
                f"{sizes[0][1]}x{sizes[0][0]} (width x height); "
                "nothing is rescaled"
            )
