"""What cannot be coded stops a run, or is left out of all rows alike."""

import json

import numpy as np
import pytest

from salcompress.codecs import load_codecs
from salcompress.data.coco import load_dataset
from salcompress.data.scenes import write_scenes
from salcompress.errors import DataError
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.image import encode_image
from tests.evaluation.runs import Stops, run, timeless


def test_a_damaged_image_stops_or_is_left_out_and_listed(fast_detector, tmp_path):
    annotations = write_scenes(tmp_path / "scenes", 4, seed=30)
    broken = tmp_path / "scenes" / "images" / "000002.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    dataset = load_dataset(broken.parent, annotations)  # the header is whole
    with pytest.raises(DataError, match="000002.png: .*--skip-bad"):
        run(dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path / "out")
    (row,) = run(dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path / "out", skip_bad=True)
    assert row.num_images == 3
    assert list(json.loads((tmp_path / "out" / "skipped.json").read_text())) == ["000002.png"]
    with pytest.raises(DataError, match="000002.png"):  # without the option it is tried again
        run(dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path / "out")
    run(dataset, fast_detector, load_codecs("png"), tmp_path / "out", skip_bad=True)
    assert list(json.loads((tmp_path / "out" / "skipped.json").read_text())) == ["000002.png"]
    write_scenes(tmp_path / "whole", 4, seed=30)  # the cure that the message names
    broken.write_bytes((tmp_path / "whole" / "images" / "000002.png").read_bytes())
    (row,) = run(
        load_dataset(broken.parent, annotations),
        fast_detector,
        load_codecs("jpeg:q=10"),
        tmp_path / "out",
        skip_bad=True,
    )
    assert row.num_images == 4


@pytest.fixture
def with_a_wide_image(tmp_path):
    """Three images, the second of which WebP cannot hold."""
    annotations = write_scenes(tmp_path / "scenes", 3, seed=30)
    content = json.loads(annotations.read_text())
    (annotations.parent / "images" / "000002.png").write_bytes(
        encode_image(np.zeros((1, 17000, 3), np.uint8), "PNG")
    )
    content["images"][1] |= {"height": 1, "width": 17000}
    annotations.write_text(json.dumps(content))
    return load_dataset(annotations.parent / "images", annotations)


@pytest.mark.parametrize("order", [("webp:q=10", "png", "none"), ("none", "png", "webp:q=10")])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_one_setting_skips_no_row_counts(
    with_a_wide_image, fast_detector, tmp_path, order, at_once
):
    data, out = with_a_wide_image, tmp_path / "out"
    for specs in [order] if at_once else [(spec,) for spec in order]:
        rows = run(data, fast_detector, load_codecs(*specs), out, skip_bad=True)
        assert len({row.num_images for row in rows}) == 1
    rows = {row.codec: row for row in read_jsonl(out / "results.jsonl")}
    assert [rows[spec.partition(":")[0]].num_images for spec in order] == [2, 2, 2]
    without = data._replace(images=(data.images[0], data.images[2]))
    alone = run(without, fast_detector, load_codecs("png", "webp:q=10"), tmp_path / "alone")
    for row in alone:
        assert timeless([rows[row.codec]]) == timeless([row])
    why = json.loads((out / "skipped.json").read_text())["000002.png"]
    assert "limit of 16383" in why and why.endswith("(webp:q=10,method=4)")


def test_an_image_that_vanishes_while_it_runs(fast_detector, tmp_path):
    annotations = write_scenes(tmp_path / "scenes", 3, seed=30)
    dataset = load_dataset(annotations.parent / "images", annotations)
    dataset.images[1].path.rename(tmp_path / "elsewhere.png")
    codecs = load_codecs("jpeg:q=10", "png")
    for workers in (0, 1):
        out = tmp_path / f"out{workers}"
        with pytest.raises(DataError, match="cannot read .*000002.png: .*--skip-bad"):
            run(dataset, fast_detector, codecs, out, workers=workers)
        rows = run(dataset, fast_detector, codecs, out, workers=workers, skip_bad=True)
        assert [row.num_images for row in rows] == [2, 2]
        assert list(json.loads((out / "skipped.json").read_text())) == ["000002.png"]
    # what is known to be missing is not looked for in vain, and is measured once it is there
    again = Stops(fast_detector, 0)
    assert run(dataset, again, codecs, tmp_path / "out0", skip_bad=True)[0].num_images == 2
    (tmp_path / "elsewhere.png").rename(dataset.images[1].path)
    rows = run(dataset, fast_detector, codecs, tmp_path / "out0")
    assert [row.num_images for row in rows] == [3, 3]
