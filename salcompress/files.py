"""Files that are there whole or not at all, folders that one process holds, and digests.

Names of files are taken as they are. A name that is not UTF-8, which Linux allows, is text with
surrogate escapes in Python (PEP 383). Where such text is written or digested, it becomes the
name's own bytes again.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from salcompress.errors import DataError, OutputError, SettingError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, never sees a part of it.

    The content goes to a temporary file in the same folder, which then replaces ``path``.

    Args:
        path: The file. Its folder is made where it does not exist.
        content: Bytes, or text that is stored as UTF-8.

    Raises:
        OutputError: The folder or the file cannot be written, or the disk is full. The temporary
            file is removed, and an older file at ``path`` stays.
    """
    path = Path(path)
    data = to_bytes(content) if isinstance(content, str) else content
    # a part of the name, since the whole may be as long as the system allows
    temporary = path.parent / f".{path.name[:32]}.{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}; {_cure(path, error)}") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(temporary)  # which is there only if it has not replaced the file


def read_file(path: Path | str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except IsADirectoryError as error:
        raise DataError(f"cannot read {path}: it is a folder, and a file is wanted here") from error
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise DataError(f"cannot read {path}: {_reason(error)}") from error


def to_bytes(text: str) -> bytes:
    """Text as UTF-8, but names of files that are not UTF-8 as the bytes that they have on disk.

    >>> to_bytes("café"), to_bytes(os.fsdecode(b"caf\\xe9"))
    (b'caf\\xc3\\xa9', b'caf\\xe9')
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a UTF-16 pair, as JSON can hold it; no name has it
        return text.encode("utf-8", "surrogatepass")


def digest(*parts: bytes | str | memoryview) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        data = to_bytes(part) if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


@contextlib.contextmanager
def exclusive_folder(folder: Path | str) -> Iterator[Path]:
    """Make a folder and hold it for this process until the block ends.

    Raises:
        SettingError: The folder cannot be made or written, or another process holds it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{folder} cannot be written: {_reason(error)}; {_cure(folder / '.lock', error)}"
        ) from error
    with lock:
        try:
            _lock(lock)
        except OSError as error:
            raise SettingError(
                f"{folder} is in use by another process; wait for it, or choose another folder"
            ) from error
        yield folder


def _lock(file: IO) -> None:
    """Take a file for this process until the file is closed, or raise OSError at once."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, which locks bytes of a file: the first one here
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _cure(path: Path, error: Exception) -> str:
    """What helps a file that could not be written."""
    for folder in path.parents:
        if os.path.exists(folder) and not os.path.isdir(folder):  # these two never raise
            return f"{folder} is a file, and a folder is wanted there; choose another folder"
    if os.path.isdir(path):
        return "it is a folder, and a file is wanted there; choose another name"
    if getattr(error, "errno", None) in _FULL:
        return "make room, or choose another folder"
    return "choose another folder"
