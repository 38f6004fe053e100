"""A folder that was encoded in several calls is the folder that one call makes."""

import signal
import subprocess
import sys
import time

import pytest

from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.stream_files import encode_files, find_files, read_summary
from salcompress.codecs.stream_files.encode import Target
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.image import encode_image

CODEC = SalientCodec(0.3, saliency="uniform", device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Six small pictures in ``tmp_path/in``."""
    (tmp_path / "in").mkdir()
    for index in range(6):
        path = tmp_path / "in" / f"{index}.png"
        path.write_bytes(encode_image(make_scene(41, index, 64, 64).image, "PNG"))
    return tmp_path


def encode(folder, out="out", codec=CODEC, target=Target(), **options):
    files = find_files([folder / "in"], {".png"}).files
    return encode_files(files, codec, folder / out, target, **options)


def content(folder, out="out"):
    """Streams and rows, but for the times."""
    rows = [row._replace(encode_s=0.0) for row in read_summary(folder / out).values()]
    return {p.name: p.read_bytes() for p in sorted((folder / out).glob("*.salc"))}, rows


def test_killed_and_resumed_it_equals_an_unbroken_run(folder):
    encode(folder, "unbroken")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from salcompress.codecs.salient import SalientCodec\n"
        "from salcompress.codecs.stream_files import encode_files, find_files\n"
        "encode = SalientCodec.encode\n"
        "SalientCodec.encode = lambda self, image: (time.sleep(0.2), encode(self, image))[1]\n"
        "codec = SalientCodec(0.3, saliency='uniform', device='cpu')\n"
        "encode_files(find_files([Path('in')], {'.png'}).files, codec, Path('out'))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=subprocess.DEVNULL)
    summary = folder / "out" / "summary.csv"
    while process.poll() is None and not (
        summary.is_file() and summary.read_bytes().count(b"\n") >= 3
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "out").glob("*.salc")}
    finished = set(read_summary(folder / "out"))
    assert 2 <= len(finished) < 6
    _make_paths_absolute(folder)
    outcome = encode(folder, resume=True)
    assert {row.stream for row in outcome.kept} == finished and len(outcome.done) == 6 - len(
        finished
    )
    assert content(folder) == content(folder, "unbroken")
    for name in finished:
        assert (folder / "out" / name).stat().st_mtime_ns == before[name], "it was made again"


def _make_paths_absolute(folder):
    summary = folder / "out" / "summary.csv"
    summary.write_text(summary.read_text().replace("in/", f"{folder}/in/"))


def test_a_row_that_was_cut_short_does_not_count(folder):
    encode(folder)
    whole, summary = content(folder), folder / "out" / "summary.csv"
    summary.write_bytes(summary.read_bytes()[:-20])
    outcome = encode(folder, resume=True)
    assert (len(outcome.kept), len(outcome.done)) == (5, 1)
    assert content(folder) == whole


def test_a_changed_picture_and_a_missing_stream_are_made_again(folder):
    encode(folder)
    (folder / "in" / "0.png").write_bytes((folder / "in" / "1.png").read_bytes())
    (folder / "out" / "5.salc").unlink()
    (folder / "out" / "4.salc").write_bytes(b"cut short")
    outcome = encode(folder, resume=True)
    assert [row.stream for row in outcome.done] == ["0.salc", "4.salc", "5.salc"]
    encode(folder, "unbroken")
    assert content(folder) == content(folder, "unbroken")


@pytest.mark.parametrize(
    "changes", [{"codec": CODEC.with_quality(0.9)}, {"target": Target(bpp=0.8)}]
)
def test_other_options_are_refused_before_any_work(folder, changes):
    encode(folder)
    whole = content(folder)
    with pytest.raises(SettingError, match=r"0\.salc was made with other options \(salient:q=0\.3"):
        encode(folder, resume=True, **changes)
    assert content(folder) == whole


def test_rows_of_other_streams_in_the_folder_stay(folder):
    encode(folder)
    (folder / "in" / "more.png").write_bytes((folder / "in" / "0.png").read_bytes())
    more = find_files([folder / "in" / "more.png"], {".png"}).files
    encode_files(more, CODEC, folder / "out")
    assert set(read_summary(folder / "out")) == {"more.salc", *(f"{k}.salc" for k in range(6))}
    (folder / "out" / "0.salc").unlink()
    encode_files(more, CODEC, folder / "out", overwrite=True)
    assert "0.salc" not in read_summary(folder / "out")


def test_a_damaged_summary_is_named_with_its_row(folder):
    encode(folder)
    summary = folder / "out" / "summary.csv"
    text = summary.read_text()
    summary.write_text(text.replace(",64,", ",sixty,", 1))
    with pytest.raises(DataError, match=r"summary\.csv is damaged in row 2; delete"):
        encode(folder, resume=True)
    summary.write_text("a,b\n")
    with pytest.raises(DataError, match=r"summary\.csv is no summary of this version; delete"):
        encode(folder, overwrite=True)


def test_wrong_calls_are_refused(folder):
    with pytest.raises(SettingError, match="overwrite and resume contradict each other"):
        encode(folder, overwrite=True, resume=True)
    with pytest.raises(SettingError, match="a target is a rate or a PSNR; give one of them"):
        encode(folder, target=Target(0.5, 30.0))
    with pytest.raises(SettingError, match="target bpp must be above 0, got -1"):
        encode(folder, target=Target(bpp=-1.0))
    with pytest.raises(SettingError, match="workers must be at least 0, got -1"):
        encode(folder, workers=-1)
