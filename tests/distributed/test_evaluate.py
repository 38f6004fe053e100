"""Rows of a cluster are those of one process, digit by digit."""

import functools

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'salcompress[ray]'")

from salcompress.codecs import load_codecs
from salcompress.data.coco import load_dataset
from salcompress.detectors import load_detector
from salcompress.distributed.evaluate import DetectorSource, measure_on_ray
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.evaluate import evaluate

DETECTOR = """
import numpy as np

def build():
    def detect(image):
        y, x = np.unravel_index(image[:, :, 0].argmax(), image.shape[:2])
        score = float(image.mean()) / 255
        return [{"category_id": 1, "bbox": [float(x), float(y), 40.0, 30.0], "score": score}]

    return detect
"""


@pytest.fixture
def detector(tmp_path, scene_dataset):
    path = tmp_path / "detector.py"
    path.write_text(DETECTOR)
    return load_detector(f"{path}:build", scene_dataset.category_ids)


def on_ray(dataset, detector):
    source = DetectorSource(detector.label, dataset.category_ids, detector.fingerprint)
    return functools.partial(measure_on_ray, source)


def timeless(rows):
    return [row._replace(encode_s=None, decode_s=None) for row in rows]


def files_of(folder):
    files = (path for path in sorted((folder / "pictures").rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_rows_are_those_of_one_process(two_nodes, scene_dataset, detector, tmp_path):
    codecs = load_codecs("none", "jpeg:q=10,40", "salient:q=0.3,device=cpu")
    # a worker has one thread, as an actor has; more of them may round pixels otherwise
    ours = evaluate(scene_dataset, detector, codecs, tmp_path / "here", workers=1)
    theirs = evaluate(
        scene_dataset,
        detector,
        codecs,
        tmp_path / "there",
        measure=on_ray(scene_dataset, detector),
    )
    assert timeless(theirs) == timeless(ours)
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    # all is done, and nothing is measured again
    again = evaluate(scene_dataset, detector, codecs, tmp_path / "there", measure=None)
    assert again == theirs


def test_a_bad_image_stops_it_or_is_skipped_as_here(
    two_nodes, scenes, detector, tmp_path, one_thread
):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, path in enumerate(sorted((scenes.parent / "images").iterdir())):
        content = path.read_bytes()
        (folder / path.name).write_bytes(content if k != 2 else content[:3000])
    dataset = load_dataset(folder, scenes)
    codecs = load_codecs("jpeg:q=10")
    measure = on_ray(dataset, detector)
    with pytest.raises(DataError, match=r"000003.png.*--skip-bad"):
        evaluate(dataset, detector, codecs, tmp_path / "stops", measure=measure)
    here = evaluate(dataset, detector, codecs, tmp_path / "here", skip_bad=True)
    there = evaluate(dataset, detector, codecs, tmp_path / "there", skip_bad=True, measure=measure)
    assert timeless(there) == timeless(here) and there[0].num_images == 5


def test_another_detector_on_a_node_is_refused(two_nodes, scene_dataset, detector, tmp_path):
    source = DetectorSource(detector.label, scene_dataset.category_ids, "another")
    measure = functools.partial(measure_on_ray, source)
    with pytest.raises(SettingError, match="has another version of the detector"):
        evaluate(scene_dataset, detector, load_codecs("png"), tmp_path / "out", measure=measure)


def test_by_the_command(two_nodes, scenes, detector, tmp_path, capsys):
    """``evaluate --ray`` gives the rows of ``evaluate``, and ``compress --ray`` its streams."""
    from salcompress.cli.main import main
    from salcompress.evaluation.rate_point import read_jsonl

    images = ["--images", str(scenes.parent / "images"), "--annotations", str(scenes)]
    common = ["evaluate", *images, "--detector", detector.label, "--codec", "jpeg:q=10"]
    assert main([*common, "--out", str(tmp_path / "here"), "--workers", "1"]) == 0
    assert main([*common, "--out", str(tmp_path / "there"), "--ray", "auto"]) == 0
    ours, theirs = (read_jsonl(tmp_path / n / "results.jsonl") for n in ("here", "there"))
    assert timeless(ours) == timeless(theirs)
    compress = ["compress", *images, "--codec", "jpeg:q=10", "--out", str(tmp_path / "stored")]
    assert main([*compress, "--ray", "auto"]) == 0
    assert f"{ours[0].bpp:.4f} bits per pixel" in capsys.readouterr().out
