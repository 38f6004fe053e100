"""The parts measure what they say, on tiny data."""

import pickle
import re
import shutil

import numpy as np
import pytest

from salcompress.data.scenes import make_scene, write_scenes
from salcompress.errors import SettingError
from salcompress.image import encode_image
from salcompress.reproduction import average_precision, rate_distortion
from salcompress.reproduction.average_precision import AVERAGE_PRECISION
from salcompress.reproduction.command import PARTS
from salcompress.reproduction.metric import METRIC
from salcompress.reproduction.part import Settings
from salcompress.reproduction.progress import standing_of
from salcompress.reproduction.rate_distortion import RATE_DISTORTION
from salcompress.reproduction.run import measure, tables_of
from salcompress.reproduction.saliency import SALIENCY
from salcompress.reproduction.speed import SPEED


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as --data wants it, with next to nothing in it."""
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder / "coco_val", 2, seed=31, height=96, width=128)
    for name in ("kodak", "codec_train"):
        (folder / name).mkdir()
        picture = encode_image(make_scene(31, 5, 64, 96).image, "PNG")
        (folder / name / "a.png").write_bytes(picture)
    for part in ("images", "masks"):
        (folder / "saliency_duts" / part).mkdir(parents=True)
    for k in range(11):
        scene = make_scene(32, k, 64, 96)
        mask = np.any([found.mask for found in scene.objects], 0)
        grey = np.repeat(mask[:, :, None] * np.uint8(255), 3, 2)
        for part, pixels in (("images", scene.image), ("masks", grey)):
            path = folder / "saliency_duts" / part / f"{k:02d}.png"
            path.write_bytes(encode_image(pixels, "PNG"))
    return folder


@pytest.fixture
def settings(data, tmp_path):
    return Settings(data, tmp_path / "out", ("scenes",), workers=0)


def tables_after(part, settings):
    measure(standing_of(part, settings), 0)
    standing = standing_of(part, settings)
    assert standing.left == []
    return tables_of(standing, settings)


@pytest.mark.parametrize("part", [part for part in PARTS if part.by_default], ids=lambda p: p.name)
def test_items_travel_to_other_processes_and_know_their_weights(part, settings):
    standing = standing_of(part, settings)
    assert standing.fault is None and standing.items
    assert len({item.name for item in standing.items}) == len(standing.items)
    assert any(item.of.get("weights", "").startswith("photo ") for item in standing.items)
    pickle.loads(pickle.dumps([item.measure for item in standing.items]))


def test_rate_and_distortion(settings, monkeypatch):
    few = {"jpeg": "jpeg:q=5,20,40,70", "webp": "webp:q=1,20,50,80", "avif": "avif:q=5,20,40,60"}
    few["salient"] = "salient:saliency=uniform,q=0,0.2,0.4,0.6,0.8,1"
    monkeypatch.setattr(rate_distortion, "CURVES", few)
    tables = tables_after(RATE_DISTORTION, settings)
    assert "| jpeg | +0.0 % |" in tables["all-codecs"]
    zoo = tables["codec-photo"].splitlines()
    assert zoo[0] == "| q | kodak: bpp | PSNR | MS-SSIM | perceptual |" and len(zoo) == 2 + 6 + 2
    rates = [float(line.split("|")[2]) for line in zoo[2:8]]
    assert rates == sorted(rates) and zoo[-1].startswith("Measured on 2")
    assert re.search("weights (.*, )?photo [0-9a-f]{8}", zoo[-1])
    assert len(tables["codec-detector"].splitlines()) == len(zoo)
    assert "| WebP | " in tables["codec-photo-differences"]
    assert "| webp:q=20,method=4 |" in tables["all-codecs-settings"]


def test_average_precision(settings, monkeypatch):
    monkeypatch.setattr(average_precision, "_CLASSICAL", ("none", "jpeg:q=5,20", "avif:q=9"))
    monkeypatch.setattr(average_precision, "_LEARNED", ("salient:saliency=uniform,q=0.1",))
    monkeypatch.setattr(average_precision, "_BY_BOXES", (0.1,))
    tables = tables_after(AVERAGE_PRECISION, settings)
    rows = tables["ap-scenes"].splitlines()
    assert rows[2].startswith("| none (source files) | ") and rows[3].startswith("| jpeg:q=5 | ")
    assert "| mask AP, 95 % interval |" in rows[0] and "bits on objects" in rows[0]
    assert rows[5].startswith("| avif:q=9 | ")
    assert rows[6].startswith("| salient:q=0.1,saliency=uniform | ")
    assert rows[7].startswith("| salient:q=0.1,saliency=uniform,weights=detector | ")
    assert rows[8].startswith("| salient:q=0.1, steered by the annotated boxes | ")
    assert "| jpeg | 100 % | no AP in common |" in tables["ap-scenes-bits"]
    assert "| avif | no AP in common | 100 % |" in tables["ap-scenes-bits"]
    assert "boxes" not in tables["ap-scenes-bits"]
    assert "none: no AP in common" in tables["ap-scenes-differences"]  # one point is no curve


def test_without_a_detector_there_is_no_average_precision(data, tmp_path):
    standing = standing_of(AVERAGE_PRECISION, Settings(data, tmp_path))
    assert isinstance(standing.fault, SettingError) and "--detector" in str(standing.fault)


def test_saliency_on_pairs_that_were_never_seen(settings):
    tables = tables_after(SALIENCY, settings)
    assert "| network (2 pairs) | " in tables["saliency-scores"]  # each tenth of eleven
    steering = tables["saliency-steering"].splitlines()
    assert [line.split(" | ")[1] for line in steering[2:8]] == [
        "off",
        "strength 24",
        "strength 40",
    ] * 2
    assert "never saw" in tables["saliency-steering"]


def test_without_unseen_pairs_there_is_steering_alone(data, tmp_path):
    shutil.copytree(data / "saliency_duts", tmp_path / "saliency")
    standing = standing_of(SALIENCY, Settings(tmp_path, tmp_path / "out"))
    assert [item.name for item in standing.items] == ["q=0.3", "q=0.5"]


def test_speed_and_the_ladders_of_the_metric(settings, monkeypatch):
    monkeypatch.setattr("salcompress.reproduction.speed._REPEAT", 1)
    speed = tables_after(SPEED, settings)["speed"]
    assert "| salient:q=0.4,saliency=uniform | " in speed and "96x64, median of 1" in speed
    ladders = [item for item in standing_of(METRIC, settings).items if "ladder" in item.name]
    steps = ladders[0].measure()
    tables = METRIC.tables(settings, {ladders[0].name: steps, "agreement": "| x |"})
    assert tables["metric-ladders"].startswith("| codec | jpeg | ") and "/ 12 |" in str(tables)
