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
    code = f"from salcompress.files import write_atomically; write_atomically({str(path)!r}, bytes(100_000))"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # noqa: E731
    run = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True
    )
    assert "OutputError: cannot write" in run.stderr and "report.html: File too large" in run.stderr
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file/x"):
        write_atomically(tmp_path / "file" / "x", b"")
    with (
        pytest.raises(SettingError, match="choose another folder"),
        exclusive_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(DataError, match="cannot read .*absent"):
        read_file(tmp_path / "absent")


def test_one_process_at_a_time(tmp_path):
    code = f"from salcompress.files import exclusive_folder\nwith exclusive_folder({str(tmp_path)!r}): pass"
    with exclusive_folder(tmp_path):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "in use by another process" in run.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_tells_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")
