"""Files are whole or not there."""

import os
import resource
import subprocess
import sys

import pytest

from salcompress.errors import DataError, OutputError, SettingError
from salcompress.files import digest, exclusive_folder, read_file, write_atomically


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["b.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_write_that_finds_no_room_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "report.html"
    write_atomically(path, "whole")
    code = (
        "from salcompress.files import write_atomically\n"
        f"write_atomically({str(path)!r}, bytes(100_000))"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # noqa: E731
    run = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True
    )
    assert "OutputError: cannot write" in run.stderr
    assert "report.html: File too large; make room, or choose another folder" in run.stderr
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_folder_that_is_a_file(tmp_path):
    """The cure is another folder. Once it was to make room."""
    (tmp_path / "file").write_text("")
    cure = "file is a file, and a folder is wanted there; choose another folder$"
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "deeper" / "x"):
        with pytest.raises(OutputError, match=f"cannot write .*/x: .*{cure}"):
            write_atomically(path, b"")
    with pytest.raises(SettingError, match=cure), exclusive_folder(tmp_path / "file"):
        pass


def test_a_file_that_is_a_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OutputError, match="is a folder, and a file is wanted there"):
        write_atomically(folder, b"")
    with pytest.raises(DataError, match="it is a folder, and a file is wanted here"):
        read_file(folder)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(folder) == []


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot read .*absent: No such file"):
        read_file(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot read .*: embedded null"):
        read_file(tmp_path / "nul\0byte")
    with pytest.raises(OutputError, match="cannot write .*: embedded null"):
        write_atomically(tmp_path / "nul\0byte", b"")


def test_names_and_text_are_taken_as_they_are(tmp_path):
    """A name of Latin-1 letters, and the longest name that this file system has."""
    for name in (b"caf\xe9.csv", "ü".encode() * 127 + b"x"):
        path = tmp_path / os.fsdecode(name)
        write_atomically(path, f"{path.name}\n")
        assert read_file(path) == name + b"\n"
        assert name in os.listdir(os.fsencode(tmp_path))
        assert digest(path.name) == digest(name)
    assert len(os.listdir(tmp_path)) == 2
    write_atomically(tmp_path / "half.txt", "\ud83d")  # half of a pair, as JSON may hold it
    assert read_file(tmp_path / "half.txt") == b"\xed\xa0\xbd"


def test_one_process_at_a_time(tmp_path):
    code = (
        "from salcompress.files import exclusive_folder\n"
        f"with exclusive_folder({str(tmp_path)!r}): pass"
    )
    with exclusive_folder(tmp_path):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "in use by another process" in run.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_tells_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")
