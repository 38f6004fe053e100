"""Rows survive writing and reading, and unmeasured figures stay unmeasured."""

import csv
import io
import json

import pytest

from salcompress.errors import DataError
from salcompress.evaluation.rate_point import RatePoint, read_jsonl, to_csv, to_jsonl

BOX = {"AP": 30.0, "AP50": 50.0, "AP75": 31.0, "APs": None, "APm": 29.0, "APl": 45.0}
ROW = RatePoint(
    "jpeg",
    "q=30,subsampling=420",
    "jpeg@1",
    "set",
    "detector",
    60,
    0.5,
    0.51,
    None,
    BOX,
    None,
    30.1,
    None,
    None,
    None,
    0.002,
    None,
    None,
    {"bpp": [0.4, 0.6], "box_AP": [25.0, 35.0]},
)


def test_round_trip(tmp_path):
    rows = [ROW, ROW._replace(codec="none", setting="", psnr=None)]
    (tmp_path / "r.jsonl").write_text(to_jsonl(rows))
    assert read_jsonl(tmp_path / "r.jsonl") == rows
    assert json.loads(to_jsonl([ROW]))["perceptual"] is None


def test_labels_and_figures():
    assert (
        ROW.label == "jpeg:q=30,subsampling=420"
        and ROW._replace(codec="none", setting="").label == "none"
    )
    assert ROW.figure("box_AP") == 30 and ROW.figure("mask_AP") is None and ROW.figure("bpp") == 0.5


def test_csv_leaves_unmeasured_cells_empty():
    (line,) = csv.DictReader(io.StringIO(to_csv([ROW])))
    assert (
        line["box_AP50"] == "50.0"
        and line["box_APs"] == ""
        and line["ms_ssim"] == ""
        and line["bpp_low"] == "0.4"
    )


def test_rows_of_before_a_figure_was_measured_have_none(tmp_path):
    old = ROW._asdict()
    for name in ("bpp_detector", "object_bits", "object_area"):
        del old[name]
    (tmp_path / "r.jsonl").write_text(json.dumps(old) + "\n")
    assert read_jsonl(tmp_path / "r.jsonl") == [ROW]


@pytest.mark.parametrize("text", ["{", '{"codec": "jpeg"}', "[1]"])
def test_damaged_rows_are_named(tmp_path, text):
    (tmp_path / "r.jsonl").write_text(to_jsonl([ROW]) + text)
    with pytest.raises(DataError, match="r.jsonl, line 2: not a result row"):
        read_jsonl(tmp_path / "r.jsonl")


def test_not_a_number_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_jsonl([ROW._replace(bpp=float("nan"))])
