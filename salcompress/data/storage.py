"""Folders here, and folders on any filesystem that pyarrow reads, behind one contract."""

import contextlib
import uuid
from pathlib import Path
from typing import Any, Protocol

from salcompress.errors import CodecUnavailableError, DataError, OutputError, SettingError
from salcompress.files import write_atomically


class Storage(Protocol):
    """A folder whose files are read and written whole, by their names below it."""

    label: str
    """As people write it."""

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a file from ``offset`` on: ``length`` of them, or all if None.

        Raises:
            DataError: It is missing or cannot be read.
        """

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file so that no reader ever sees a part of it.

        Raises:
            OutputError: It cannot be written, or the disk is full.
        """

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where it is missing.

        Raises:
            DataError: The filesystem does not answer.
        """

    def sizes(self) -> dict[str, int]:
        """Bytes of all files, those in folders within it, too, by name with ``/`` between folders.

        Raises:
            SettingError: There is no such folder.
        """


class LocalFolder:
    """A folder on this machine, or on one that is mounted here."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).absolute()  # other processes may work in another folder
        self.label = str(folder)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            with open(self.folder / name, "rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except OSError as error:
            raise DataError(
                f"cannot read {self.folder / name}: {error.strerror or error}"
            ) from error

    def write(self, name: str, content: bytes | str) -> None:
        write_atomically(self.folder / name, content)

    def size(self, name: str) -> int | None:
        with contextlib.suppress(OSError):
            return (self.folder / name).stat().st_size
        return None

    def sizes(self) -> dict[str, int]:
        if not self.folder.is_dir():
            raise SettingError(f"folder {self.folder} does not exist")
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}


class ArrowFolder:
    """A folder by its address, such as ``s3://bucket/folder`` or ``file:///folder``.

    Object stores show a file when all of it is there. On other filesystems a file is written beside
    its place and then moved.

    Raises:
        CodecUnavailableError: pyarrow is not installed.
        SettingError: The address cannot be used.
    """

    def __init__(self, address: str):
        try:
            from pyarrow import fs
        except ImportError as error:
            raise CodecUnavailableError(
                f"{address} needs pyarrow; install it with pip install 'salcompress[ray]'"
            ) from error
        try:
            self._filesystem, self._folder = fs.FileSystem.from_uri(address.rstrip("/"))
        except (ValueError, OSError) as error:
            raise SettingError(f"{address} cannot be opened: {error}") from error
        self.label = address
        self._moves = self._filesystem.type_name not in ("s3", "gcs", "abfs")

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            with self._filesystem.open_input_file(f"{self._folder}/{name}") as file:
                file.seek(offset)
                return file.read() if length is None else file.read(length)
        except OSError as error:
            raise DataError(f"cannot read {self.label}/{name}: {error}") from error

    def write(self, name: str, content: bytes | str) -> None:
        path = f"{self._folder}/{name}"
        # of its own for each writer: a task that is done again may meet the one that it replaces
        beside = f"{path}.{uuid.uuid4().hex}.part" if self._moves else path
        try:
            if self._moves:
                self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with self._filesystem.open_output_stream(beside) as file:
                file.write(content.encode() if isinstance(content, str) else content)
            if self._moves:
                self._filesystem.move(beside, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._filesystem.delete_file(beside)
            raise OutputError(
                f"cannot write {self.label}/{name}: {error}; make room, or choose another folder"
            ) from error

    def size(self, name: str) -> int | None:
        try:
            found: Any = self._filesystem.get_file_info(f"{self._folder}/{name}")
        except OSError as error:
            raise DataError(f"cannot reach {self.label}/{name}: {error}") from error
        return found.size if found.is_file else None

    def sizes(self) -> dict[str, int]:
        from pyarrow import fs

        try:
            files = self._filesystem.get_file_info(fs.FileSelector(self._folder, recursive=True))
        except OSError as error:
            raise SettingError(f"{self.label} cannot be listed: {error}") from error
        start = len(self._folder) + 1
        sizes = {file.path[start:]: file.size for file in files if file.is_file}
        return dict(sorted(sizes.items()))


def open_storage(location: Path | str | Storage) -> Storage:
    """The storage of a path or of an address with ``://`` in it.

    Example:
        >>> open_storage("results").label
        'results'

    Raises:
        CodecUnavailableError, SettingError: As of :class:`ArrowFolder`.
    """
    if isinstance(location, Path) or (isinstance(location, str) and "://" not in location):
        return LocalFolder(location)
    return ArrowFolder(location) if isinstance(location, str) else location
