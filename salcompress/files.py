"""Files that are there whole or not at all, and their digests."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from salcompress.errors import DataError, OutputError, SettingError


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, never sees a part of it.

    The content goes to a temporary file in the same folder, which then replaces ``path``.

    Args:
        path: The file; its folder is made if need be.
        content: Bytes, or text to be stored as UTF-8.

    Raises:
        OutputError: The folder or the file cannot be written, or the disk is full; the temporary
            file is removed.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".part", dir=path.parent
        )
        with open(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room, or choose another folder"
        ) from error


def read_file(path: Path | str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def digest(*parts: bytes | str | memoryview) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
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
    except OSError as error:
        raise SettingError(
            f"{folder} cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingError(
                f"{folder} is in use by another process; wait for it, or choose another folder"
            ) from error
        yield folder


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


_UMASK = _read_umask()
