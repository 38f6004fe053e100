"""What is written of an image is whole, or is measured again."""

import resource
import subprocess
import sys

import pytest

from salcompress.errors import DataError
from salcompress.evaluation.records import ImageRecord, RecordFile, read_records

RECORD = ImageRecord(
    image_id=7,
    file_name="x.jpg",
    height=10,
    width=20,
    source_digest="abc",
    num_bits=800,
    psnr=30.5,
    encode_s=0.2,
    decode_s=0.3,
    detections=[{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_by_a_kill_is_dropped(tmp_path, cut):
    path = tmp_path / "r.jsonl"
    with RecordFile(path) as file:
        file.append(RECORD)
        file.append(RECORD._replace(image_id=8))
    path.write_bytes(path.read_bytes()[:-cut])
    with RecordFile(path) as file:
        assert list(file.done) == [7]
        file.append(RECORD._replace(image_id=9))
    assert read_records(path) == {7: RECORD, 9: RECORD._replace(image_id=9)}


@pytest.mark.parametrize(
    "line",
    [
        b'{"image_id": 1, "file_name": "x", "height": 1, "width": 1, "of_the_future": 3}\n',
        b"\x00\x00\n",
    ],
)
def test_a_whole_line_that_is_not_understood_is_never_erased(tmp_path, line):
    path = tmp_path / "r.jsonl"
    with RecordFile(path) as file:
        file.append(RECORD)
    path.write_bytes(path.read_bytes() + line + path.read_bytes())
    before = path.read_bytes()
    with pytest.raises(DataError, match="r.jsonl, line 2: not a record of this version"):
        RecordFile(path)
    assert path.read_bytes() == before


def test_detections_are_read_only_where_wanted(tmp_path):
    path = tmp_path / "r.jsonl"
    with RecordFile(path) as file:
        for k in (1, 2):
            file.append(RECORD._replace(image_id=k))
        assert file.done[1].detections is None
    assert (
        read_records(path, [2])[1].detections is None
        and read_records(path, [2])[2].detections == RECORD.detections
    )


def test_a_full_disk_ends_with_whole_records(tmp_path):
    """The kernel refuses to let the file grow past a bound, as it does on a full disk."""
    path = tmp_path / "r.jsonl"
    code = f"""
from salcompress.evaluation.records import ImageRecord, RecordFile
with RecordFile(__import__("pathlib").Path({str(path)!r})) as file:
    for k in range(9):
        file.append(ImageRecord(k, "x.jpg", 10, 20))"""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))  # noqa: E731
    run = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True
    )
    assert (
        "OutputError: cannot write" in run.stderr
        and "make room and run the same command again" in run.stderr
    )
    assert path.stat().st_size == 200, "the test wants a cut line"
    with RecordFile(path) as file:
        assert list(file.done) == [0, 1, 2]


def test_missing_records(tmp_path):
    with pytest.raises(DataError, match="cannot read .*no.jsonl"):
        read_records(tmp_path / "no.jsonl")


def test_records_are_valid_json(tmp_path):
    with (
        RecordFile(tmp_path / "r.jsonl") as file,
        pytest.raises(ValueError, match="not JSON compliant"),
    ):
        file.append(RECORD._replace(psnr=float("inf")))


def test_a_file_knows_whether_its_detector_gives_masks(tmp_path):
    path = tmp_path / "r.jsonl"
    with RecordFile(path) as file:
        file.append(RECORD)
        assert not file.gives_masks
        mask = {"size": [10, 20], "counts": "x"}
        file.append(RECORD._replace(detections=[RECORD.detections[0] | {"segmentation": mask}]))
        assert file.gives_masks
    with RecordFile(path) as file:
        assert file.gives_masks
