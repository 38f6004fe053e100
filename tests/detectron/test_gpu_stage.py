"""The stage gives what the compressing mapper gives, from loaders that leave pictures be."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.config import get_cfg
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import build_model

from salcompress.codecs import load_codec, with_cache
from salcompress.codecs.salient import SalientCodec
from salcompress.detectron import CompressedDatasetMapper, RandomCompression, add_salcompress_config
from salcompress.detectron.config import load_config
from salcompress.detectron.gpu_stage import CompressedLoader
from salcompress.detectron.original_mapper import OriginalImageMapper
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.round_trip import code
from salcompress.files import read_file
from salcompress.image import encode_image, read_image

CONFIG = Path(__file__).parents[2] / "detectron_configs" / "scenes_mask_rcnn.yaml"
PLAIN = {"augmentations": [], "image_format": "BGR"}


@pytest.fixture(scope="module")
def dicts(scenes):
    """Of six pictures, two of them cut to other sizes."""
    entries = load_coco_json(str(scenes), str(scenes.parent / "images"))
    for entry, (height, width) in zip(entries, [(120, 90), (70, 190)]):
        path = scenes.parent / f"cut-{height}.png"
        path.write_bytes(
            encode_image(
                np.ascontiguousarray(read_image(entry["file_name"])[:height, :width]), "PNG"
            )
        )
        entry |= {"file_name": str(path), "height": height, "width": width, "annotations": []}
    return entries


def mapped(mapper, entries):
    """What a mapper makes of entries when chance runs the same way."""
    np.random.seed(3)
    return [mapper(entry) for entry in entries]


def staged(entries, codec, batch_size=4, **options):
    """All that the stage makes of mapped entries."""
    batches = [entries[k : k + batch_size] for k in range(0, len(entries), batch_size)]
    stage = CompressedLoader(batches, codec, **options)
    found = list(stage)
    assert [len(batch) for batch in found] == [len(batch) for batch in batches] and len(
        stage
    ) == len(batches)
    return list(itertools.chain.from_iterable(found))


def assert_same(ours, theirs, most=0):
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine) == set(other) and mine["image"].dtype == torch.uint8
        difference = (mine["image"].cpu().int() - other["image"].cpu().int()).abs()
        assert difference.max() <= most, difference.max()
        assert [mine[key] for key in ("file_name", "num_bits", "bpp", "original_size")] == [
            other[key] for key in ("file_name", "num_bits", "bpp", "original_size")
        ]


@pytest.mark.parametrize(
    "codec, options",
    [
        ("none", {}),
        ("jpeg:q=20", {}),
        ("jpeg:q=20", {"prefetch": 1}),
        ("salient:q=0.3,device=cpu", {"real_streams": True}),
        ("salient:q=0.3,device=cpu,saliency=uniform", {"real_streams": True, "prefetch": 2}),
    ],
)
@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_without_resize_it_is_the_compressing_mapper(dicts, codec, options, image_format):
    arguments = {"augmentations": [T.RandomFlip()], "image_format": image_format}
    theirs = mapped(CompressedDatasetMapper(True, codec=codec, **arguments), dicts[:3])
    ours = staged(
        mapped(OriginalImageMapper(True, **arguments), dicts[:3]),
        codec,
        2,
        image_format=image_format,
        **options,
    )
    # encoded equals encoded; the synthesis is float, so of what is decoded rare values may be one
    # grey level off
    assert_same(ours, theirs, most=1 if codec.startswith("salient") else 0)
    assert all("instances" in entry for entry in ours)  # the first two have no annotations


def test_with_resize_it_is_that_up_to_a_grey_level(dicts):
    arguments = {
        "augmentations": [
            T.ResizeShortestEdge([90, 150], 200),
            T.RandomFlip(),
            T.RandomCrop("relative", (0.8, 0.8)),
        ],
        "image_format": "BGR",
    }
    theirs = mapped(CompressedDatasetMapper(True, codec="jpeg:q=20", **arguments), dicts)
    assert_same(
        staged(mapped(OriginalImageMapper(True, **arguments), dicts), "jpeg:q=20"), theirs, most=1
    )


def test_counted_rates_are_within_64_bits_of_real_ones(dicts):
    entries = mapped(OriginalImageMapper(False, **PLAIN), dicts[:3])
    counted, real = (
        staged(entries, "salient:q=0.3,device=cpu", real_streams=real) for real in (False, True)
    )
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(counted, real))
    assert all(abs(one["num_bits"] - other["num_bits"]) <= 64 for one, other in zip(counted, real))


def test_drawn_codecs_follow_the_first_and_set_the_rate(dicts):
    random_compression = RandomCompression(
        ["salient:q=0.2,saliency=uniform,device=cpu", "jpeg:q=5", "none"]
    )
    mapper = OriginalImageMapper(True, random_compression=random_compression, **PLAIN)
    entries = [
        entry | {"codec_index": k} for entry, k in zip(mapped(mapper, dicts[:4]), (0, 1, 2, 3))
    ]
    for first in ("none", "jpeg:q=50", "salient:q=0.6,saliency=uniform,device=cpu"):
        ours = staged(
            entries,
            first,
            random_codecs=random_compression.settings,
            image_format="BGR",
            real_streams=True,
        )
        for entry, mine in zip(entries, ours):
            expected = code(
                load_codec(first), read_image(entry["file_name"]), read_file(entry["file_name"])
            )
            if entry["codec_index"] in (1, 2):  # the third is "none": the first codec's rate stays
                expected = code(
                    random_compression.settings[entry["codec_index"] - 1], expected.decoded
                )
            # a grey level off after the first codec moves a few symbols of the second
            assert mine["num_bits"] == pytest.approx(
                expected.num_bits, rel=0.01 if first.startswith("salient") else 0
            )
            difference = np.abs(
                mine["image"].flip(0).permute(1, 2, 0).numpy().astype(int) - expected.decoded
            )
            assert difference.mean() < 0.01
    with pytest.raises(SettingError, match="drew random codec 1, and the stage has 0"):
        staged(entries, "none")


def test_distortion_is_measured_as_the_mapper_does(dicts):
    for codec in ("none", "webp:q=10", "salient:q=0.3,saliency=uniform,device=cpu"):
        theirs = CompressedDatasetMapper(False, codec=codec, measure_distortion=True, **PLAIN)(
            dicts[2]
        )["coded"]
        ours = staged(
            mapped(OriginalImageMapper(False, **PLAIN), dicts[2:3]),
            codec,
            measure_distortion=True,
            real_streams=True,
        )[0]["coded"]
        assert ours.decoded is None
        for figure in ("psnr", "ms_ssim", "perceptual"):
            expected = getattr(theirs, figure)
            if expected is not None:  # pytest 9.2 knows no tolerance of None
                expected = pytest.approx(expected, rel=1e-3)
            assert getattr(ours, figure) == expected


def test_a_cache_is_used(dicts, tmp_path):
    codec = with_cache(load_codec("jpeg:q=20"), tmp_path)
    entries = mapped(OriginalImageMapper(False, **PLAIN), dicts[:2])
    assert_same(staged(entries, codec), staged(entries, codec))
    assert (codec.hits, codec.misses) == (2, 2)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_of_any_loader_every_batch_comes_once_in_order_and_again(dicts, prefetch):
    cfg = get_cfg()
    add_salcompress_config(cfg)
    cfg.INPUT.MIN_SIZE_TEST = 100
    loader = build_detection_test_loader(
        dicts, mapper=OriginalImageMapper(cfg, is_train=False), num_workers=1
    )
    stage = CompressedLoader(loader, "jpeg:q=20", prefetch=prefetch)
    for _ in range(2):
        assert [batch[0]["file_name"] for batch in stage] == [entry["file_name"] for entry in dicts]
    assert len(stage) == len(dicts) and len(list(CompressedLoader([], "none"))) == 0


def test_endless_training_loader_with_a_worker(dicts):
    cfg = get_cfg()
    add_salcompress_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (100,)
    mapper = OriginalImageMapper(cfg, is_train=True)
    loader = build_detection_train_loader(dicts, mapper=mapper, total_batch_size=2, num_workers=1)
    stage = CompressedLoader(loader, "salient:q=0.2,device=cpu", prefetch=1)
    batches = list(itertools.islice(stage, 4))
    for entry in itertools.chain.from_iterable(batches):
        assert entry["image"].shape[1] == 100 or entry["image"].shape[2] == 100
        assert entry["num_bits"] > 0 and "instances" in entry and "transforms" not in entry


def test_a_refused_picture_is_named_after_the_batches_before_it(dicts, tmp_path):
    path = tmp_path / "wide.png"
    path.write_bytes(encode_image(np.zeros((1, 20000, 3), np.uint8), "PNG"))
    entries = mapped(
        OriginalImageMapper(False, **PLAIN),
        [*dicts[:2], {"file_name": str(path), "height": 1, "width": 20000, "image_id": 9}],
    )
    huge = entries[0] | {
        "file_name": "huge.png",
        "image": torch.zeros(3, 1, 2**20 + 1, dtype=torch.uint8),
    }  # padded, 64 rows
    cases = [
        ("webp:q=10", [entries[1], entries[2]], "wide.png: webp cannot encode an image of 20000x1"),
        (
            SalientCodec(saliency=np.zeros((120, 90), np.float32), device="cpu"),
            entries[:2],
            r"cut-70.png: the saliency map is \(120, 90\)",
        ),
        (
            "salient:device=cpu,saliency=uniform",
            [entries[1], huge],
            "huge.png: an image of 1048577x1, padded",
        ),
    ]
    for codec, batch, message in cases:
        for prefetch in (0, 2):
            batches = iter(
                CompressedLoader([entries[:1], batch, entries[:1]], codec, prefetch=prefetch)
            )
            assert next(batches)[0]["num_bits"] > 0
            with pytest.raises(DataError, match=message):
                next(batches)


def test_a_corrupt_file_is_named(dicts, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    loader = build_detection_test_loader(
        [dicts[0], {"file_name": str(path), "height": 1, "width": 1, "image_id": 9}],
        mapper=OriginalImageMapper(False, **PLAIN),
        num_workers=1,
    )
    batches = iter(CompressedLoader(loader, "jpeg:q=20", prefetch=2))
    assert next(batches)[0]["file_name"] == dicts[0]["file_name"]
    with pytest.raises(DataError, match="broken.jpg: not an image that Pillow can read"):
        next(batches)


def test_running_out_of_memory_names_sizes_and_a_cure(dicts, monkeypatch):
    def full(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("salcompress.detectron.gpu_stage.apply_transforms", full)
    entries = mapped(OriginalImageMapper(False, **PLAIN), dicts[:2])
    for codec in ("none", "jpeg:q=20"):
        with pytest.raises(
            SettingError,
            match="not enough memory on .* to compress images of 90x120, 190x70: take fewer "
            "images at a time",
        ):
            staged(entries, codec)


def test_autocast_of_the_training_loop_changes_nothing(dicts):
    entries = mapped(
        OriginalImageMapper(
            False, augmentations=[T.ResizeShortestEdge(100, 200)], image_format="BGR"
        ),
        dicts[:2],
    )
    plain = staged(entries, "salient:q=0.3,device=cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(staged(entries, "salient:q=0.3,device=cpu"), plain)


def test_pictures_of_another_format_are_refused(dicts):
    """BGR coded as RGB costs about a tenth more bits, and nothing fails."""
    entries = mapped(OriginalImageMapper(False, augmentations=[], image_format="RGB"), dicts[:1])
    with pytest.raises(SettingError, match="OriginalImageMapper has RGB pictures.*told BGR"):
        staged(entries, "jpeg:q=20")
    (found,) = staged(entries, "jpeg:q=20", image_format="RGB")
    original = read_image(dicts[0]["file_name"])
    assert found["num_bits"] == 8 * len(load_codec("jpeg:q=20").encode(original))


def test_wrong_arguments_and_pictures_of_another_mapper(dicts):
    with pytest.raises(SettingError, match="must be BGR or RGB"):
        CompressedLoader([], "none", image_format="L")
    with pytest.raises(SettingError, match="prefetch must be at least 0, or None, got -1"):
        CompressedLoader([], "none", prefetch=-1)
    with pytest.raises(SettingError, match="unknown codec 'jpg'"):
        CompressedLoader([], "jpg")
    with pytest.raises(
        SettingError,
        match="mapped by OriginalImageMapper, .* source_bits, codec_index is missing",
    ):
        staged([{"image": torch.zeros(3, 8, 8, dtype=torch.uint8)}], "none")


@pytest.mark.gpu
@pytest.mark.parametrize("real_streams", [False, True])
@pytest.mark.parametrize(
    "codec", ["none", "jpeg:q=20", "salient:q=0.3", "salient:q=0.3,saliency=classical"]
)
def test_on_a_gpu_it_gives_what_the_cpu_gives(dicts, codec, real_streams):
    arguments = {"augmentations": [T.ResizeShortestEdge(150, 250)], "image_format": "BGR"}
    entries = mapped(OriginalImageMapper(False, **arguments), dicts * 3)
    there = staged(entries, codec, real_streams=real_streams)
    here = mapped(
        CompressedDatasetMapper(
            False,
            codec=codec + ",device=cpu" if codec.startswith("salient") else codec,
            **arguments,
        ),
        dicts * 3,
    )
    for ours, theirs in zip(there, here, strict=True):
        assert ours["image"].is_cuda
        # a level of a cell, or a symbol, may fall to the other side where a float is near a half
        assert ours["num_bits"] == pytest.approx(theirs["num_bits"], rel=0.01, abs=64)
        assert (ours["image"].cpu().int() - theirs["image"].int()).abs().float().mean() < 0.5


@pytest.mark.gpu
def test_the_detector_may_use_pictures_while_others_are_compressed(dicts):
    """Memory of a picture that the detector still reads is not given to the next: sums are those of
    slow reading.
    """
    entries = mapped(OriginalImageMapper(False, **PLAIN), dicts * 8)
    quick, slow = [], []
    for batch in CompressedLoader([[entry] for entry in entries], "salient:q=0.3"):
        torch.cuda._sleep(50_000_000)  # some 30 ms: the detector is late
        quick.append(batch[0]["image"].double().sum())
        del batch
    for batch in CompressedLoader([[entry] for entry in entries], "salient:q=0.3", prefetch=0):
        torch.cuda.synchronize()
        slow.append(batch[0]["image"].double().sum())
    assert torch.equal(torch.stack(quick), torch.stack(slow))


@pytest.mark.gpu
@pytest.mark.parametrize("codec_device, detector_device", [("cuda", "cpu"), ("cpu", "cuda")])
def test_codec_and_detector_may_be_on_different_devices(dicts, codec_device, detector_device):
    """Detectron2's models move pictures to their own device."""
    cfg = load_config(str(CONFIG))
    cfg.MODEL.DEVICE = detector_device
    model = build_model(cfg).eval()
    loader = CompressedLoader(
        [[entry] for entry in mapped(OriginalImageMapper(False, **PLAIN), dicts)],
        f"salient:q=0.3,device={codec_device}",
    )
    with torch.no_grad():
        assert all(
            model(batch)[0]["instances"].pred_boxes.device.type == detector_device
            for batch in loader
        )
