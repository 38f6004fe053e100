"""Which files a user means, and what the file that is made of each is called."""

import collections
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from salcompress.errors import SettingError


class InputFile(NamedTuple):
    """A file to work on."""

    path: Path
    below: Path
    """Its path below the folder that was given. It is the name alone where the file was given."""


class FoundFiles(NamedTuple):
    """What lies in the files and folders that a user gave."""

    files: list[InputFile]
    passed_over: list[Path]
    """Files of the folders whose names do not end as wanted. Hidden ones are not counted."""


def find_files(inputs: Iterable[Path], endings: Collection[str]) -> FoundFiles:
    """The files given, and those below the folders given whose names end so.

    A file that is given by its own name is taken whatever that is. One that is named twice is taken
    once.

    Args:
        inputs: Files and folders.
        endings: What the names of files end in, in small letters, with the dots.

    Raises:
        SettingError: A file or folder does not exist, or nothing is found.
    """
    inputs = list(inputs)
    found: dict[Path, InputFile] = {}
    passed_over = []
    for path in inputs:
        if not path.exists():
            raise SettingError(f"{path} does not exist; give files, or folders of files")
        if not path.is_dir():
            found.setdefault(path.resolve(), InputFile(path, Path(path.name)))
            continue
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            below = file.relative_to(path)
            if file.suffix.lower() in endings:
                found.setdefault(file.resolve(), InputFile(file, below))
            elif not any(part.startswith(".") for part in below.parts):
                passed_over.append(file)
    if not found:
        raise SettingError(
            f"{', '.join(map(str, inputs))} holds no file whose name ends in "
            f"{', '.join(sorted(endings))}; give such files, or another folder"
        )
    return FoundFiles(list(found.values()), passed_over)


def output_paths(
    files: Sequence[InputFile], out: Path, ending: str, keep_tree: bool = False
) -> list[Path]:
    """The file that each input becomes: ``a.jpg`` becomes ``out/a.salc``.

    Where two inputs would become one file, such as ``a.jpg`` and ``a.png``, both keep their whole
    names: ``a.jpg.salc`` and ``a.png.salc``.

    Args:
        files: The inputs.
        out: Folder of the new files.
        ending: What the names of the new files end in, with its dot.
        keep_tree: Keep the sub-folders of the folders given.

    Raises:
        SettingError: Two inputs would become one file even so.
    """
    folders = [file.below.parent if keep_tree else Path() for file in files]
    short = [out / folder / (file.path.stem + ending) for file, folder in zip(files, folders)]
    wanted = collections.Counter(short)
    paths = [
        path if wanted[path] == 1 else out / folder / (file.path.name + ending)
        for path, file, folder in zip(short, files, folders)
    ]
    first: dict[Path, Path] = {}
    for file, path in zip(files, paths):
        if path in first:
            cure = (
                "write them into two folders"
                if keep_tree
                else "keep their folders with --keep-tree (keep_tree=True)"
            )
            raise SettingError(
                f"{first[path]} and {file.path} would both become {path.relative_to(out)}; {cure}"
            )
        first[path] = file.path
    return paths
