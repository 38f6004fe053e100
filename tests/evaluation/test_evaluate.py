"""Evaluation: rows are right, and the same however they were reached."""

import csv
import json

import numpy as np
import pytest

from salcompress.codecs import load_codec, load_codecs
from salcompress.data.coco import load_dataset
from salcompress.data.scenes import write_scenes
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.kept_pictures import choose_pictures
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.evaluation.records import read_records
from salcompress.evaluation.run_folder import records_path
from salcompress.image import encode_image, read_image
from salcompress.metrics.average_precision import average_precision
from salcompress.metrics.perceptual import perceptual_distance
from salcompress.reporting.report import write_report
from tests.evaluation.runs import Named, Sized, Stops, run, timeless


def test_rows_against_a_direct_computation(scene_dataset, fast_detector, tmp_path):
    codec = load_codec("jpeg:q=15")
    (row,) = run(scene_dataset, fast_detector, [codec], tmp_path)
    images = [read_image(i.path) for i in scene_dataset.images]
    streams = [codec.encode(image) for image in images]
    found = {
        i.image_id: fast_detector(codec.decode(s)) for i, s in zip(scene_dataset.images, streams)
    }
    pixels = [image[:, :, 0].size for image in images]
    assert row.bpp == pytest.approx(sum(8 * len(s) for s in streams) / sum(pixels), rel=1e-12)
    assert row.bpp_mean == pytest.approx(
        np.mean([8 * len(s) / p for s, p in zip(streams, pixels)]), rel=1e-12
    )
    assert row.box == average_precision(scene_dataset.coco, list(found), found, "bbox").values
    assert row.mask is None and row.num_images == 6
    distances = [perceptual_distance(image, codec.decode(s)) for image, s in zip(images, streams)]
    assert row.perceptual == pytest.approx(np.mean(distances), rel=1e-4)
    for name in ("bpp", "bpp_mean", "psnr", "ms_ssim", "perceptual", "box_AP"):
        low, high = row.ci95[name]
        assert low <= row.figure(name) <= high and low < high
    assert read_jsonl(tmp_path / "results.jsonl") == [row]


def test_the_rate_over_the_pixels_that_the_detector_saw(scene_dataset, fast_detector, tmp_path):
    codecs = [load_codec("jpeg:q=15"), load_codec("none")]
    silent = run(scene_dataset, fast_detector, codecs, tmp_path / "silent")
    assert [row.bpp_detector for row in silent] == [None, None]
    assert "bpp_detector" not in silent[0].ci95
    rows = evaluate(scene_dataset, Sized(fast_detector), codecs, tmp_path / "sized")
    for row, plain in zip(rows, silent, strict=True):
        # scenes are of 320x240, seen at 133x100
        factor = 320 * 240 / (133 * 100)
        assert row.bpp == plain.bpp
        assert row.bpp_detector == pytest.approx(factor * row.bpp, rel=1e-12)
        assert row.ci95["bpp_detector"] == pytest.approx([factor * v for v in row.ci95["bpp"]])
    assert read_jsonl(tmp_path / "sized" / "results.jsonl") == rows
    with open(tmp_path / "sized" / "summary.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["bpp_detector"]) for line in lines] == [row.bpp_detector for row in rows]


def test_a_row_has_no_such_rate_where_an_image_of_it_was_measured_without(
    scene_dataset, fast_detector, tmp_path
):
    """As by an older version, which the records of a folder may be of."""
    codec = load_codec("jpeg:q=15")
    detector = Sized(fast_detector)
    (row,) = evaluate(scene_dataset, detector, [codec], tmp_path)
    (path,) = (tmp_path / "records").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[2]["detector_pixels"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (again,) = evaluate(scene_dataset, detector, [codec], tmp_path)
    assert row.bpp_detector is not None and again.bpp_detector is None and again.bpp == row.bpp


def test_a_detector_that_says_nonsense_of_its_size_is_refused(
    scene_dataset, fast_detector, tmp_path
):
    detector = Sized(fast_detector)
    detector.input_size = lambda height, width: height * width
    with pytest.raises(DataError, match=r"input_size\(240, 320\) of the detector must give"):
        evaluate(scene_dataset, detector, [load_codec("jpeg:q=15")], tmp_path)


def test_a_search_is_one_more_option(scenes, fast_detector, tmp_path):
    """Rows of an encoder that searches are those of its streams."""
    dataset = load_dataset(scenes.parent / "images", scenes, 1)
    codecs = load_codecs("salient:q=0.3,effort=0,10,device=cpu")
    plain, searched = run(dataset, fast_detector, codecs, tmp_path)
    image = read_image(dataset.images[0].path)
    assert (
        searched.setting == plain.setting + ",effort=10"
        and searched.fingerprint != plain.fingerprint
    )
    assert searched.bpp == 8 * len(codecs[1].encode(image)) / image[..., 0].size != plain.bpp


@pytest.mark.parametrize("workers", [0, 1])
def test_the_learned_metric_can_be_left_out_and_measured_later(
    scene_dataset, fast_detector, tmp_path, workers, one_thread
):
    codec = [load_codec("jpeg:q=15")]
    (row,) = run(
        scene_dataset, fast_detector, codec, tmp_path, workers=workers, with_perceptual=False
    )
    assert row.perceptual is None and row.psnr is not None
    assert timeless(
        run(scene_dataset, Stops(fast_detector, 0), codec, tmp_path, with_perceptual=False)
    ) == timeless([row])  # all done
    (later,) = run(scene_dataset, fast_detector, codec, tmp_path)
    assert later.perceptual > 0 and timeless(
        [later._replace(perceptual=None, ci95=row.ci95)]
    ) == timeless([row])
    # what was measured is kept by a call that does not ask for it
    assert (
        run(scene_dataset, Stops(fast_detector, 0), codec, tmp_path, with_perceptual=False)[
            0
        ].perceptual
        == later.perceptual
    )


def test_identity_gives_the_detectors_own_ap_and_the_files_own_rate(
    scene_dataset, fast_detector, tmp_path
):
    (row,) = run(scene_dataset, fast_detector, [load_codec("none")], tmp_path)
    found = {i.image_id: fast_detector(read_image(i.path)) for i in scene_dataset.images}
    assert row.box == average_precision(scene_dataset.coco, list(found), found, "bbox").values
    files = sum(i.path.stat().st_size for i in scene_dataset.images)
    assert row.bpp == pytest.approx(8 * files / (6 * 240 * 320), rel=1e-12)
    assert row.psnr is None and row.ms_ssim == pytest.approx(1, abs=1e-6) and row.perceptual == 0


def test_stopped_and_resumed_equals_unbroken_and_repeats_nothing(
    scene_dataset, fast_detector, tmp_path
):
    codecs = load_codecs("none", "jpeg:q=10,40")
    unbroken = run(scene_dataset, fast_detector, codecs, tmp_path / "a")
    for after in (2, 7):  # within the first image, then within the third
        with pytest.raises(KeyboardInterrupt):
            run(scene_dataset, Stops(fast_detector, after), codecs, tmp_path / "b")
    path = records_path(tmp_path / "b", "jpeg:q=10,subsampling=420", codecs[1].fingerprint)
    path.write_bytes(path.read_bytes()[:-9])  # and the last line was cut short
    counted = Stops(fast_detector, 18 - 9 + 1)
    assert timeless(run(scene_dataset, counted, codecs, tmp_path / "b")) == timeless(unbroken)
    assert counted.left == 0
    assert timeless(read_jsonl(tmp_path / "b" / "results.jsonl")) == timeless(unbroken)


def test_workers_give_the_same_rows(scene_dataset, fast_detector, tmp_path, one_thread):
    codecs = load_codecs("jpeg:q=10", "webp:q=10")
    alone = run(scene_dataset, fast_detector, codecs, tmp_path / "a")
    assert timeless(
        run(scene_dataset, fast_detector, codecs, tmp_path / "b", workers=2)
    ) == timeless(alone)


def test_a_finished_run_needs_no_detector_and_takes_more_codecs(
    scene_dataset, fast_detector, tmp_path
):
    first = run(scene_dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path)
    assert run(scene_dataset, Stops(fast_detector, 0), load_codecs("jpeg:q=10"), tmp_path) == first
    second = run(scene_dataset, fast_detector, load_codecs("webp:q=10"), tmp_path)
    assert read_jsonl(tmp_path / "results.jsonl") == first + second


def test_cached_streams_are_used_and_not_timed(scene_dataset, fast_detector, tmp_path):
    codecs = load_codecs("webp:q=10")
    (first,) = run(scene_dataset, fast_detector, codecs, tmp_path / "a", cache=tmp_path / "cache")
    (again,) = run(scene_dataset, fast_detector, codecs, tmp_path / "b", cache=tmp_path / "cache")
    assert first.encode_s > 0 and again.encode_s is None and timeless([first]) == timeless([again])


def test_changed_images_are_measured_again(fast_detector, tmp_path):
    annotations = write_scenes(tmp_path / "scenes", 2, seed=30)
    dataset = load_dataset(annotations.parent / "images", annotations)
    (first,) = run(dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path / "out")
    (annotations.parent / "images" / "000001.png").write_bytes(
        encode_image(np.zeros((240, 320, 3), np.uint8), "PNG")
    )
    (again,) = run(dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path / "out")
    assert again.bpp < first.bpp


def test_an_image_that_only_decoding_shows_to_be_turned(fast_detector, tmp_path):
    """EXIF data behind the pixels of a PNG: the header alone agrees with the annotation."""
    import struct
    import zlib

    annotations = write_scenes(tmp_path / "scenes", 1, seed=30)
    path = annotations.parent / "images" / "000001.png"
    whole = path.read_bytes()
    exif = b"eXIf" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    path.write_bytes(
        whole[:-12]
        + struct.pack(">I", len(exif) - 4)
        + exif
        + struct.pack(">I", zlib.crc32(exif))
        + whole[-12:]
    )
    with pytest.raises(
        DataError, match="000001.png is 240x320 once decoded, and annotated as 320x240"
    ):
        run(
            load_dataset(path.parent, annotations),
            fast_detector,
            load_codecs("png"),
            tmp_path / "out",
        )


def test_rows_do_not_depend_on_the_order_of_the_annotations(scene_dataset, fast_detector, tmp_path):
    turned = scene_dataset._replace(images=scene_dataset.images[::-1])
    rows = [
        run(data, fast_detector, load_codecs("jpeg:q=10"), tmp_path / name)
        for data, name in ((scene_dataset, "a"), (turned, "b"))
    ]
    assert timeless(rows[0]) == timeless(rows[1])


def test_rows_keep_their_order_when_measured_again(scene_dataset, fast_detector, tmp_path):
    run(scene_dataset, fast_detector, load_codecs("jpeg:q=10", "webp:q=10"), tmp_path)
    run(scene_dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path)
    assert [r.codec for r in read_jsonl(tmp_path / "results.jsonl")] == ["jpeg", "webp"]


def test_another_detector_is_another_run(scene_dataset, fast_detector, tmp_path):
    run(scene_dataset, fast_detector, load_codecs("jpeg:q=10"), tmp_path)
    with pytest.raises(SettingError, match="results of another run"):
        evaluate(scene_dataset, Named(fast_detector, "other"), load_codecs("jpeg:q=10"), tmp_path)


def test_a_folder_whose_name_is_not_utf8(scenes, fast_detector, tmp_path):
    """Every result file is written, and names the data set by its bytes."""
    import os
    import shutil

    from salcompress.reporting.html import render

    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(scenes.parent, folder)
    content = json.loads(scenes.read_text())
    del content["info"]  # which would name the data set
    (folder / "boxes.json").write_text(json.dumps(content))
    dataset = load_dataset(folder / "images", folder / "boxes.json")
    rows = run(dataset, fast_detector, load_codecs("jpeg:q=10"), folder / "out")
    assert read_jsonl(folder / "out" / "results.jsonl") == rows
    assert b"caf\xe9/boxes" in (folder / "out" / "summary.csv").read_bytes()
    assert "caf\\udce9" in render(rows)


def test_another_number_of_images_is_said_as_numbers(scenes, fast_detector, tmp_path):
    three, two = (load_dataset(scenes.parent / "images", scenes, limit) for limit in (3, 2))
    run(three, fast_detector, load_codecs("jpeg:q=10"), tmp_path)
    with pytest.raises(SettingError, match="another run: 3 images then, 2 now; choose another"):
        run(two, fast_detector, load_codecs("jpeg:q=10"), tmp_path)


def test_a_codec_given_twice_is_measured_once(scene_dataset, fast_detector, tmp_path):
    codecs = [load_codec("jpeg:q=10"), load_codec("png"), load_codec("jpeg:q=10")]
    counted = Stops(fast_detector, 2 * len(scene_dataset.images))
    first, other, again = run(scene_dataset, counted, codecs, tmp_path)
    assert counted.left == 0 and first == again != other


def test_a_large_image_is_coded_in_several_turns(scene_dataset, fast_detector, tmp_path):
    """Decoded pictures in memory are bounded; the rows are the same."""
    from salcompress.evaluation import evaluate as module

    pixels = 240 * 320
    wide = scene_dataset.images[0]
    assert list(module._in_turns(wide, (3, 4, 5, 7))) == [(3, 4, 5, 7)]
    large = wide._replace(height=4000, width=3000)
    assert list(module._in_turns(large, (3, 4, 5))) == [(3,), (4,), (5,)]
    assert max(map(len, module._in_turns(wide, tuple(range(999))))) * pixels <= 2**23


def test_text_image_ids_write_nothing_beside_the_folder(scene_dataset, fast_detector, tmp_path):
    from salcompress.evaluation.kept_pictures import keep_decoded
    from salcompress.evaluation.round_trip import code

    image = scene_dataset.images[0]._replace(image_id="../../../x")
    png = load_codec("png")
    keep_decoded(tmp_path / "a" / "out", image, png, code(png, read_image(image.path)))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["out"]


def test_pictures_are_those_of_images_with_objects(scene_dataset, fast_detector, tmp_path):
    run(scene_dataset, fast_detector, load_codecs("png"), tmp_path)
    chosen = choose_pictures(scene_dataset)
    for image in chosen:
        original, decoded = sorted(
            (tmp_path / "pictures" / str(image.image_id)).iterdir(),
            key=lambda p: p.name != "original.png",
        )
        assert np.array_equal(read_image(original), read_image(image.path)) and np.array_equal(
            read_image(decoded), read_image(image.path)
        )


@pytest.mark.slow
def test_figures_of_real_coco(coco_val, tmp_path):
    """The detector that others trained, on real images: figures measured independently of this
    code.
    """
    pytest.importorskip("onnxruntime")
    from salcompress.detectors import load_detector

    tool = coco_val.parents[1] / "tools" / "yolox_nano.py"
    dataset = load_dataset(coco_val / "images", coco_val / "instances.json")
    rows = evaluate(
        dataset,
        load_detector(f"{tool}:build", dataset.category_ids),
        load_codecs("none", "jpeg:q=10,30", "webp:q=10"),
        tmp_path,
        workers=1,
    )
    assert [row.box["AP"] for row in rows] == pytest.approx([35.2, 27.3, 34.9, 33.1], abs=0.1)
    assert [row.bpp for row in rows[1:]] == pytest.approx([0.321, 0.623, 0.293], rel=0.01)


def test_bits_on_objects_are_the_coders_own(scene_dataset, fast_detector, tmp_path):
    """The learned codec says where its bits went, from the stream; others do not know."""
    codec, jpeg = load_codecs("salient:q=0.4,device=cpu", "jpeg:q=15")
    row, other = run(scene_dataset, fast_detector, [codec, jpeg], tmp_path)
    assert other.object_bits is None and other.object_area is None
    assert (
        0 < row.object_area < row.object_bits < 1
    )  # drawn objects have more edges than their backgrounds
    records = read_records(records_path(tmp_path, codec.label, codec.fingerprint))
    for image in scene_dataset.images:
        found = codec.reconstruct(read_image(image.path))
        assert records[image.image_id].placed_bits == pytest.approx(found.bits_map.sum(), rel=1e-5)
    page = write_report(tmp_path)[0].read_text()
    assert page.count('"name":"bits"') == 3 and '"high":"1"' in page  # of one codec's pictures
    for path in tmp_path.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="npz is damaged; delete it, or evaluate again"):
        write_report(tmp_path)
