"""Resampled figures outlive the process, and damaged ones are named."""

import math

import pytest

from salcompress.errors import DataError
from salcompress.evaluation.resamples import read_resamples, write_resamples


def test_what_is_written_is_read(tmp_path):
    assert read_resamples(tmp_path) == {}
    write_resamples(tmp_path, {"a": {"bpp": [0.5, 0.25], "box_AP": [30.0, math.nan]}})
    found = read_resamples(tmp_path)
    assert found["a"]["bpp"] == [0.5, 0.25]
    assert found["a"]["box_AP"][0] == 30 and math.isnan(found["a"]["box_AP"][1])


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": [1]}', '{"a": {"bpp": ["x"]}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "resamples.json").write_text(text)
    with pytest.raises(DataError, match=r"resamples.json is damaged; delete it, or evaluate again"):
        read_resamples(tmp_path)
