"""A stored data set gives the pictures and the rates of the codec in the mapper."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.data.datasets import load_coco_json

from salcompress.codecs import load_codec
from salcompress.codecs.compress import compress_images
from salcompress.data.sources import find_sources
from salcompress.data.storage import LocalFolder
from salcompress.detectron import (
    CompressedDatasetMapper,
    CompressedLoader,
    OriginalImageMapper,
    register_stored,
    stored_dicts,
)
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.config import load_config
from salcompress.errors import DataError, SettingError
from tests.detectron.commands import CONFIGS, arguments

CODEC = "salient:q=0.3,saliency=uniform"


@pytest.fixture(scope="module")
def stored(scenes, tmp_path_factory):
    """The scenes as streams of the learned codec."""
    out = tmp_path_factory.mktemp("stored")
    sources = find_sources(LocalFolder(scenes.parent / "images"), scenes)
    compress_images(sources, load_codec(f"{CODEC},device=cpu"), LocalFolder(out), 0, 4)
    return out


@pytest.fixture
def name(stored, scenes):
    """The stored data set, registered."""
    name = "test_stored"
    register_stored(name, stored, scenes)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def config(*changes):
    cfg = load_config(str(CONFIGS / "scenes_mask_rcnn.yaml"))
    cfg.merge_from_list(list(changes))
    return cfg


@pytest.mark.parametrize("is_train", [False, True])
def test_pictures_and_rates_are_those_of_the_codec_in_the_mapper(scenes, name, is_train):
    """So every figure that is made of them is the same, digit by digit, AP among them."""
    codec = f"{CODEC},device=cpu"
    compressing = CompressedDatasetMapper(
        config("SALCOMPRESS.TRAIN_CODEC", codec, "SALCOMPRESS.TEST_CODEC", codec), is_train
    )
    reading = CompressedDatasetMapper(config(), is_train)
    originals = load_coco_json(str(scenes), str(scenes.parent / "images"), name)
    for ours, theirs in zip(DatasetCatalog.get(name), originals, strict=True):
        np.random.seed(1)
        ours = reading(ours)
        np.random.seed(1)
        theirs = compressing(theirs)
        assert torch.equal(ours["image"], theirs["image"])
        for key in ("num_bits", "bpp", "original_size", "height", "width", "image_id"):
            assert ours[key] == theirs[key]
        if is_train:
            boxes = (entry["instances"].gt_boxes.tensor for entry in (ours, theirs))
            assert torch.equal(*boxes)


def test_behind_the_loader_and_in_its_workers(name, scenes):
    """The rate is that of the streams, whatever reads them."""
    expected = [CompressedDatasetMapper(config(), False)(e) for e in DatasetCatalog.get(name)]
    loader = CompressedLoader(
        [[OriginalImageMapper(config(), False)(e)] for e in DatasetCatalog.get(name)],
        "none",
    )
    for (ours,), theirs in zip(loader, expected, strict=True):
        assert ours["num_bits"] == theirs["num_bits"]
        assert ours["image"].shape == theirs["image"].shape
    loader = build_detection_train_loader(
        DatasetCatalog.get(name),
        mapper=CompressedDatasetMapper(config(), True),
        total_batch_size=2,
        num_workers=1,
    )
    rates = {entry["num_bits"] for entry in expected}
    assert {entry["num_bits"] for entry in next(iter(loader))} <= rates


def test_streams_left_to_the_stage_are_decoded_there_in_a_batch(name):
    """Pixels are those of one by one within a grey level, and rates and boxes are the same."""
    cfg, entries = config(), DatasetCatalog.get(name)
    arguments = OriginalImageMapper.from_config(cfg, False)
    batches = []
    for leaves_streams in (False, True):
        mapper = OriginalImageMapper(**arguments | {"leaves_streams": leaves_streams})
        mapped = [mapper(entry) for entry in entries]
        assert all(("image" in entry) != leaves_streams for entry in mapped)
        batches.append(next(iter(CompressedLoader([mapped], "none"))))
    for ours, theirs in zip(*batches, strict=True):
        assert set(ours) == set(theirs) and ours["num_bits"] == theirs["num_bits"]
        assert (ours["image"].int() - theirs["image"].int()).abs().max() <= 1


def test_a_config_trains_and_tests_from_streams(stored, scenes, random_weights, tmp_path):
    entry = ["test_stored_by_config", str(stored), str(scenes)]
    opts = ["SALCOMPRESS.STORED", repr([entry]), "DATASETS.TRAIN", "('test_stored_by_config',)"]
    opts += ["DATASETS.TEST", "('test_stored_by_config',)", "MODEL.WEIGHTS", random_weights]
    opts += ["SOLVER.MAX_ITER", "1", "DATALOADER.NUM_WORKERS", "0"]
    engine.main(arguments("none", tmp_path, opts=opts))
    opts[opts.index(random_weights)] = str(tmp_path / "model_final.pth")
    results = engine.main(arguments("none", tmp_path, "--eval-only", opts=opts))
    manifest = json.loads((stored / "manifest.json").read_text())
    assert results["compression"]["bpp"] == pytest.approx(manifest["bpp"], rel=1e-12)
    assert results["compression"]["bpp_mean"] == pytest.approx(manifest["bpp_mean"], rel=1e-12)
    sweep = [*opts, "SALCOMPRESS.SWEEP", "['none']"]
    with pytest.raises(SettingError, match="stored as streams, and a sweep compresses original"):
        engine.main(arguments("none", tmp_path, "--eval-only", opts=sweep))
    with pytest.raises(SettingError, match=r"must be \[name, location, annotations\]"):
        engine.setup(arguments("none", tmp_path, opts=["SALCOMPRESS.STORED", "[['a', 'b']]"]))


def test_weights_with_a_name_are_found_by_themselves(stored, name, scenes, known_second, tmp_path):
    """In the mapper and behind the loader, in one batch with streams of other weights."""
    sources = find_sources(LocalFolder(scenes.parent / "images"), scenes)
    codec = load_codec(f"{CODEC},weights=second,device=cpu")
    compress_images(sources, codec, LocalFolder(tmp_path), 0, 4)
    try:
        entries = [
            stored_dicts("test_second", tmp_path, scenes)[0],
            DatasetCatalog.get(name)[0],
        ]
        mappers = [OriginalImageMapper.from_config(config(), False) for _ in range(2)]
        mappers[1]["leaves_streams"] = True
        batches = [
            next(iter(CompressedLoader([[OriginalImageMapper(**m)(e) for e in entries]], "none")))
            for m in mappers
        ]
        for ours, theirs in zip(*batches, strict=True):
            assert ours["num_bits"] == theirs["num_bits"]
            assert (ours["image"].int() - theirs["image"].int()).abs().max() <= 1
        assert not torch.equal(batches[0][0]["image"], batches[0][1]["image"])
    finally:
        DatasetCatalog.remove("test_second")
        MetadataCatalog.remove("test_second")


def test_what_is_not_stored_is_said(stored, scenes, name, tmp_path):
    with pytest.raises(SettingError, match="test_stored is registered already"):
        register_stored(name, stored, scenes)
    with pytest.raises(SettingError, match="holds no stored data set"):
        register_stored("test_nothing", tmp_path, scenes)
    with pytest.raises(SettingError, match=r"annotations file .*no.json does not exist"):
        register_stored("test_nothing", stored, tmp_path / "no.json")
    content = json.loads(scenes.read_text())
    content["images"].append({**content["images"][0], "id": 77, "file_name": "other.png"})
    (tmp_path / "more.json").write_text(json.dumps(content))
    try:
        with pytest.raises(DataError, match="1 of the 7 images .* are not stored"):
            stored_dicts("test_more", stored, tmp_path / "more.json")
    finally:
        DatasetCatalog.remove("test_more")
        MetadataCatalog.remove("test_more")


def test_stored_pictures_are_not_compressed_twice(name):
    """Left over in a config, a codec would change the rate and the pictures unsaid."""
    entry = DatasetCatalog.get(name)[0]
    compressing = CompressedDatasetMapper(config("SALCOMPRESS.TEST_CODEC", "jpeg:q=5"), False)
    with pytest.raises(SettingError, match=r"000001.png is stored compressed, and jpeg:q=5"):
        compressing(entry)
    loader = CompressedLoader([[OriginalImageMapper(config(), False)(entry)]], "jpeg:q=5")
    with pytest.raises(SettingError, match=r"000001.png is stored compressed, and jpeg:q=5"):
        next(iter(loader))


def test_numbers_as_text_are_refused_before_detectron2_reads_them(stored, scenes, tmp_path):
    """It would find no object of an image whose id is text in one place and a number in another."""
    content = json.loads(scenes.read_text())
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    (tmp_path / "text.json").write_text(json.dumps(content))
    try:
        with pytest.raises(DataError, match="'annotations' has a number as text"):
            stored_dicts("test_text", stored, tmp_path / "text.json")
    finally:
        DatasetCatalog.remove("test_text")
        MetadataCatalog.remove("test_text")


def test_a_damaged_stream_names_its_picture(stored, name, tmp_path):
    from salcompress.data.shards import shard_name

    path = stored / shard_name(0)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:700] + b"\xff" + whole[701:])
        with pytest.raises(DataError, match="000001.png"):
            CompressedDatasetMapper(config(), False)(DatasetCatalog.get(name)[0])
    finally:
        path.write_bytes(whole)
