"""The files that a command works on, and what it says of those that it passes over."""

import collections
import sys
from collections.abc import Sequence
from pathlib import Path

from salcompress.codecs.stream_files.inputs import InputFile, find_files
from salcompress.image import IMAGE_ENDINGS


def image_files(inputs: Sequence[Path]) -> list[InputFile]:
    """The images among files and folders; a line on stderr says what was passed over.

    Raises:
        SettingError: A file or folder does not exist, or holds no image.
    """
    found = find_files(inputs, IMAGE_ENDINGS)
    if found.passed_over:
        print(passed_over_line(found.passed_over), file=sys.stderr)
    return found.files


def stream_files(inputs: Sequence[Path]) -> list[InputFile]:
    """The .salc streams among files and folders.

    Raises:
        SettingError: A file or folder does not exist, or holds no stream.
    """
    return find_files(inputs, {".salc"}).files


def first_few(sentences: Sequence[str], most: int = 10) -> str:
    """The first of several sentences, and how many more there are.

    >>> first_few(["a.png is missing", "b.png is damaged"], most=1)
    'a.png is missing; and 1 more'
    """
    more = [f"and {len(sentences) - most} more"] if len(sentences) > most else []
    return "; ".join([*sentences[:most], *more])


def passed_over_line(paths: Sequence[Path]) -> str:
    """What was passed over, by the endings of the names.

    >>> passed_over_line([Path("a/x.heic"), Path("a/y.heic"), Path("a/notes.txt")])
    'passed over 3 files that are not named as images: 2 .heic, 1 .txt (such as a/x.heic)'
    """
    endings = collections.Counter(path.suffix.lower() or "without an ending" for path in paths)
    counts = ", ".join(f"{number} {ending}" for ending, number in endings.most_common())
    files = "1 file that is" if len(paths) == 1 else f"{len(paths)} files that are"
    return f"passed over {files} not named as images: {counts} (such as {paths[0]})"
