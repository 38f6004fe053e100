"""The mapper is the stock one on decoded pictures, with the rate of the original beside them."""

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BitMasks, BoxMode

from salcompress.codecs import load_codec
from salcompress.detectron import (
    CompressedDatasetMapper,
    OriginalImageMapper,
    RandomCompression,
    add_salcompress_config,
)
from salcompress.errors import DataError, SettingError
from salcompress.image import encode_image, read_image


@pytest.fixture(scope="module")
def dicts(scenes):
    return load_coco_json(str(scenes), str(scenes.parent / "images"))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_salcompress_config(cfg)
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN = (150, 200)
    cfg.INPUT.MIN_SIZE_TEST = 180
    return cfg


def mapped(mapper, entry, seed=0):
    """What a mapper makes of an entry when chance runs the same way."""
    np.random.seed(seed)
    return mapper(entry)


def assert_same(ours, theirs):
    """All that the stock mapper gives is there, and equal."""
    for key, value in theirs.items():
        if key == "instances":
            assert torch.equal(ours[key].gt_boxes.tensor, value.gt_boxes.tensor) and torch.equal(
                ours[key].gt_classes, value.gt_classes
            )
            assert set(ours[key].get_fields()) == set(value.get_fields())
            if value.has("gt_masks"):
                assert_same_masks(ours[key].gt_masks, value.gt_masks)
            if value.has("gt_keypoints"):
                assert torch.equal(ours[key].gt_keypoints.tensor, value.gt_keypoints.tensor)
        elif key == "proposals":
            assert torch.equal(ours[key].proposal_boxes.tensor, value.proposal_boxes.tensor)
        else:
            assert (
                torch.equal(ours[key], value)
                if isinstance(value, torch.Tensor)
                else ours[key] == value
            )


def assert_same_masks(ours, theirs):
    if isinstance(theirs, BitMasks):
        assert torch.equal(ours.tensor, theirs.tensor)
    else:
        assert [[p.tolist() for p in polygons] for polygons in ours.polygons] == [
            [p.tolist() for p in x] for x in theirs.polygons
        ]


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("crop", [True, False])
def test_no_codec_is_the_stock_mapper_bit_for_bit(cfg, dicts, is_train, crop):
    cfg.INPUT.CROP.ENABLED, cfg.MODEL.MASK_ON = (
        crop,
        not crop,
    )  # to crop polygons Detectron2 needs shapely, an extra of its own
    for seed, entry in enumerate(dicts):
        theirs = mapped(DatasetMapper(cfg, is_train), entry, seed)
        ours = mapped(CompressedDatasetMapper(cfg, is_train), entry, seed)
        assert_same(ours, theirs)
        with open(entry["file_name"], "rb") as file:
            assert ours["num_bits"] == 8 * len(file.read())


def test_label_maps_pass_untouched(cfg, dicts, tmp_path):
    labels = np.random.default_rng(0).integers(0, 50, (240, 320), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    entry = dicts[0] | {"sem_seg_file_name": str(tmp_path / "labels.png")}
    cfg.SALCOMPRESS.TRAIN_CODEC = "jpeg:q=5"
    cfg.SALCOMPRESS.RANDOM_CODECS = ["webp:q=1"]
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN = "none", (240,)
    ours = mapped(CompressedDatasetMapper(cfg, True), entry)["sem_seg"]
    assert np.array_equal(ours.numpy(), labels)


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_codec_is_stock_on_the_decoded_picture_and_rate_is_the_originals(
    cfg, dicts, tmp_path, image_format
):
    cfg.INPUT.FORMAT = image_format
    cfg.SALCOMPRESS.TEST_CODEC = "jpeg:q=12"
    codec, entry = load_codec("jpeg:q=12"), dicts[0]
    stream = codec.encode(read_image(entry["file_name"]))  # RGB and before any resize
    ours = mapped(CompressedDatasetMapper(cfg, is_train=False), entry)
    assert ours["num_bits"] == 8 * len(stream)
    assert ours["bpp"] == ours["num_bits"] / (240 * 320) and ours["original_size"] == (240, 320)
    assert ours["image"].shape == (3, 180, 240)
    (tmp_path / "decoded.png").write_bytes(encode_image(codec.decode(stream), "PNG"))
    theirs = mapped(
        DatasetMapper(cfg, is_train=False), entry | {"file_name": str(tmp_path / "decoded.png")}
    )
    assert torch.equal(ours["image"], theirs["image"])


@pytest.mark.parametrize(
    "spec", ["hevc:q=40,preset=ultrafast", "vvc:q=40,preset=faster", "jxl:q=30"]
)
def test_codecs_that_start_processes_work_in_loader_workers(cfg, dicts, spec):
    pytest.importorskip("imageio_ffmpeg", reason='needs the extra "codecs"')
    cfg.SALCOMPRESS.TRAIN_CODEC, cfg.DATALOADER.NUM_WORKERS = spec, 1
    codec = load_codec(spec)
    bits = {8 * len(codec.encode(read_image(entry["file_name"]))) for entry in dicts[:2]}
    loader = build_detection_train_loader(
        dicts[:2], mapper=CompressedDatasetMapper(cfg, True), total_batch_size=2, num_workers=1
    )
    assert {entry["num_bits"] for entry in next(iter(loader))} <= bits


def test_train_and_test_codecs_are_told_apart(cfg, dicts):
    cfg.SALCOMPRESS.TRAIN_CODEC, cfg.SALCOMPRESS.TEST_CODEC = "jpeg:q=5", "jpeg:q=90"
    bits = [
        CompressedDatasetMapper(cfg, is_train)(dicts[0])["num_bits"] for is_train in (True, False)
    ]
    original = read_image(dicts[0]["file_name"])
    assert bits == [
        8 * len(load_codec(spec).encode(original)) for spec in ("jpeg:q=5", "jpeg:q=90")
    ]


def test_keypoints_and_proposals_pass(cfg, dicts):
    entry = dict(dicts[0])
    entry["annotations"] = [a | {"keypoints": [10.0, 20.0, 2] * 17} for a in entry["annotations"]]
    entry |= {
        "proposal_boxes": np.array([[10.0, 10, 60, 60]]),
        "proposal_objectness_logits": np.array([0.5]),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
    }
    arguments = dict(
        augmentations=[T.RandomFlip(1.0)],
        image_format="BGR",
        use_instance_mask=True,
        use_keypoint=True,
        keypoint_hflip_indices=np.arange(17),
        precomputed_proposal_topk=5,
        instance_mask_format="bitmask",
    )
    theirs = mapped(DatasetMapper(True, **arguments), entry)
    ours = mapped(CompressedDatasetMapper(True, codec="jpeg:q=30", **arguments), entry)
    assert ours["image"].shape == theirs.pop("image").shape
    assert_same(ours, theirs)
    assert ours["instances"].has("gt_keypoints") and ours["instances"].has("gt_masks")


def test_random_compression_of_the_config_sees_the_original_picture(cfg, dicts):
    cfg.SALCOMPRESS.RANDOM_CODECS = ["jpeg:q=5"]
    cfg.INPUT.CROP.ENABLED = True
    cfg.MODEL.MASK_ON = False
    original = read_image(dicts[0]["file_name"])
    # Also where a project brings augmentations of its own, as Detectron2's documentation shows.
    for more in ({}, {"augmentations": [T.RandomCrop("absolute", (50, 50))]}):
        ours = CompressedDatasetMapper(cfg, is_train=True, **more)(dicts[0])
        assert ours["num_bits"] == 8 * len(load_codec("jpeg:q=5").encode(original))
    tested = CompressedDatasetMapper(cfg, is_train=False)(dicts[0])
    assert tested["num_bits"] > 10 * ours["num_bits"]  # the source file


@pytest.mark.parametrize("first", ["none", "webp:q=30"])
def test_none_among_the_random_codecs_leaves_picture_and_rate_as_they_are(cfg, dicts, first):
    cfg.SALCOMPRESS.TRAIN_CODEC = first
    plain = CompressedDatasetMapper(cfg, is_train=True)
    cfg.SALCOMPRESS.RANDOM_CODECS = ["none", "jpeg:q=5"]
    mapper = CompressedDatasetMapper(cfg, is_train=True)
    rates = {mapped(mapper, dicts[0], seed)["num_bits"] for seed in range(20)}
    assert len(rates) == 2
    assert plain(dicts[0])["num_bits"] in rates  # of the source file, or of the first codec


@pytest.mark.parametrize("kind", [CompressedDatasetMapper, OriginalImageMapper])
def test_16_bit_grey_is_read_as_everywhere_else(kind, dicts, tmp_path):
    """Detectron2's own reader clips it to white."""
    grey = np.linspace(0, 65535, 240 * 320, dtype=np.uint16).reshape(240, 320)
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    entry = dicts[0] | {"file_name": str(path)}
    image = kind(False, augmentations=[], image_format="BGR")(entry)["image"]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), read_image(path))
    assert 120 < image.float().mean() < 135


@pytest.mark.parametrize("kind", [CompressedDatasetMapper, OriginalImageMapper])
def test_pictures_that_cannot_be_read_are_named(kind, dicts, tmp_path):
    mapper = kind(False, augmentations=[], image_format="BGR")
    (tmp_path / "cut.png").write_bytes(
        encode_image(read_image(dicts[0]["file_name"]), "PNG")[:5000]
    )
    with pytest.raises(DataError, match="cut.png: .*truncated"):
        mapper(dicts[0] | {"file_name": str(tmp_path / "cut.png")})
    with pytest.raises(DataError, match="cannot read .*gone.png"):
        mapper(dicts[0] | {"file_name": str(tmp_path / "gone.png")})
    with pytest.raises(DataError, match=r"000001.png: .*got \(320, 240\), expect \(320, 100\)"):
        mapper(dicts[0] | {"height": 100})


def test_formats_that_differ_are_refused():
    drawn = RandomCompression(["jpeg:q=5"], image_format="RGB")
    with pytest.raises(SettingError, match="RandomCompression has RGB pictures.*told BGR"):
        CompressedDatasetMapper(
            True, augmentations=[], image_format="BGR", random_compression=drawn
        )


def test_the_dict_of_the_data_set_stays_as_it_is(cfg, dicts):
    import copy

    before = copy.deepcopy(dicts[0])
    CompressedDatasetMapper(cfg, is_train=True)(dicts[0])
    assert repr(before) == repr(dicts[0])


def test_measured_distortion_is_that_of_the_original(cfg, dicts):
    from salcompress.metrics.psnr_ssim import ms_ssim, psnr

    cfg.SALCOMPRESS.TEST_CODEC = "webp:q=10"
    coded = CompressedDatasetMapper(cfg, is_train=False, measure_distortion=True)(dicts[1])["coded"]
    original, codec = read_image(dicts[1]["file_name"]), load_codec("webp:q=10")
    decoded = codec.decode(codec.encode(original))
    assert (coded.psnr, coded.ms_ssim) == (
        psnr(original, decoded),
        ms_ssim(original, decoded),
    ) and coded.decoded is None


def test_cache_of_the_config_is_used(cfg, dicts, tmp_path):
    cfg.SALCOMPRESS.TEST_CODEC, cfg.SALCOMPRESS.CACHE_DIR, cfg.SALCOMPRESS.CACHE_MIB = (
        "webp:q=10",
        str(tmp_path),
        50,
    )
    first, again = (CompressedDatasetMapper(cfg, is_train=False)(dicts[0]) for _ in range(2))
    assert torch.equal(first["image"], again["image"]) and first["num_bits"] == again["num_bits"]
    assert len(list(tmp_path.glob("??/*"))) == 1


def test_in_loader_workers(cfg, dicts):
    cfg.SALCOMPRESS.TRAIN_CODEC = "jpeg:q=20"
    loader = build_detection_train_loader(
        dicts, mapper=CompressedDatasetMapper(cfg, True), total_batch_size=2, num_workers=2
    )
    batch = next(iter(loader))
    assert len(batch) == 2 and all(entry["num_bits"] > 0 for entry in batch)


def test_a_picture_that_the_codec_cannot_hold_is_named(cfg, tmp_path):
    path = tmp_path / "wide.png"
    path.write_bytes(encode_image(np.zeros((1, 20000, 3), np.uint8), "PNG"))
    cfg.SALCOMPRESS.TEST_CODEC = "webp:q=10"
    with pytest.raises(DataError, match="wide.png: webp cannot encode an image of 20000x1"):
        CompressedDatasetMapper(cfg, is_train=False)(
            {"file_name": str(path), "height": 1, "width": 20000, "image_id": 1}
        )


def test_wrong_settings(cfg):
    cfg.SALCOMPRESS.TEST_CODEC = "jpeg:q=10,20"
    with pytest.raises(SettingError, match="gives 2 settings"):
        CompressedDatasetMapper(cfg, is_train=False)
    cfg.SALCOMPRESS.TEST_CODEC, cfg.INPUT.FORMAT = "none", "L"
    with pytest.raises(SettingError, match="must be BGR or RGB"):
        CompressedDatasetMapper(cfg, is_train=False)


def test_the_learned_codec_in_loader_workers(cfg, dicts):
    """By its name alone: in the mapper, as an augmentation, in forked workers."""
    cfg.SALCOMPRESS.TRAIN_CODEC, cfg.SALCOMPRESS.RANDOM_CODECS = (
        "salient:q=0.3",
        ["salient:q=0.2,0.6"],
    )
    loader = build_detection_train_loader(
        dicts, mapper=CompressedDatasetMapper(cfg, True), total_batch_size=2, num_workers=2
    )
    assert all(0 < entry["bpp"] < 3 for entry in next(iter(loader)))
    cfg.SALCOMPRESS.TEST_CODEC = "salient:q=0.3,device=cpu"
    ours = CompressedDatasetMapper(cfg, is_train=False)(dicts[0])
    assert ours["num_bits"] == 8 * len(
        load_codec("salient:q=0.3,device=cpu").encode(read_image(dicts[0]["file_name"]))
    )


def test_a_codec_that_searches(cfg, dicts):
    spec = "salient:q=0.3,effort=10,device=cpu"
    cfg.SALCOMPRESS.TEST_CODEC = spec
    ours = CompressedDatasetMapper(cfg, is_train=False)(dicts[0])
    codec, image = load_codec(spec), read_image(dicts[0]["file_name"])
    stream = codec.encode(image)
    assert ours["num_bits"] == 8 * len(stream) and stream != codec.with_effort(0).encode(image)
