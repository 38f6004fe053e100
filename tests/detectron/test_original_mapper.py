"""The mapper that leaves the picture alone decides and transforms what the stock mapper does."""

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json

from salcompress.detectron import OriginalImageMapper, RandomCompression
from salcompress.detectron.device_transforms import apply_transforms
from salcompress.errors import DataError, SettingError


@pytest.fixture(scope="module")
def entries(scenes):
    return load_coco_json(str(scenes), str(scenes.parent / "images"))


def mapped(kind, entry, **more):
    np.random.seed(5)
    augmentations = [
        T.ResizeShortestEdge([96, 128, 160], 200, "choice"),
        T.RandomFlip(),
        T.RandomCrop("absolute", (80, 90)),
    ]
    return kind(
        True, augmentations=augmentations, image_format="BGR", use_instance_mask=False, **more
    )(dict(entry))


def test_annotations_and_sizes_are_the_stock_mappers(entries):
    for entry in entries:
        ours, theirs = mapped(OriginalImageMapper, entry), mapped(DatasetMapper, entry)
        image = apply_transforms(ours["image"], ours["transforms"])
        assert (image.int() - theirs["image"].int()).abs().max() <= 1 and image.shape == theirs[
            "image"
        ].shape
        assert torch.equal(ours["instances"].gt_boxes.tensor, theirs["instances"].gt_boxes.tensor)
        assert (
            ours["instances"].image_size == theirs["instances"].image_size == tuple(image.shape[1:])
        )
        assert (
            ours["original_size"]
            == (entry["height"], entry["width"])
            == tuple(ours["image"].shape[1:])
        )
        assert (
            ours["source_bits"] == 8 * len(open(entry["file_name"], "rb").read())
            and ours["codec_index"] == 0
        )


def test_the_codec_is_drawn_in_the_mapper(entries):
    compression = RandomCompression(["jpeg:q=10,30", "webp:q=10"], prob=0.75)
    mapper = OriginalImageMapper(
        True, augmentations=[], image_format="BGR", random_compression=compression
    )
    np.random.seed(1)
    drawn = np.bincount([mapper(dict(entries[0]))["codec_index"] for _ in range(120)], minlength=4)
    assert len(drawn) == 4 and all(
        15 <= count <= 45 for count in drawn
    )  # 30 each; 45 is over three standard deviations off


def test_what_cannot_be_left_for_later_is_said_at_once(entries, tmp_path):
    mapper = OriginalImageMapper(
        True, augmentations=[T.RandomBrightness(0.5, 1.5)], image_format="BGR"
    )
    with pytest.raises(SettingError, match="BlendTransform cannot follow the codec"):
        mapper(dict(entries[0]))
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="x.png"):
        OriginalImageMapper(False, augmentations=[], image_format="BGR")(
            {**entries[0], "file_name": str(tmp_path / "x.png")}
        )
    with pytest.raises(SettingError, match="must be BGR or RGB"):
        OriginalImageMapper(False, augmentations=[], image_format="L")


@pytest.mark.parametrize("with_masks", [False, True])
def test_a_crop_is_cut_out_before_the_codec(entries, with_masks):
    """The annotations are those that the stock mapper gives a picture cut beforehand."""
    mapper = OriginalImageMapper(
        True,
        crop=96,
        augmentations=[T.ResizeShortestEdge(64), T.RandomFlip(1.0)],
        image_format="BGR",
        use_instance_mask=with_masks,
        instance_mask_format="bitmask",
    )
    np.random.seed(3)
    found = mapper(dict(entries[0]))
    assert found["image"].shape == (3, 96, 96) and found["original_size"] == (96, 96)
    whole = OriginalImageMapper(True, augmentations=[], image_format="BGR")(dict(entries[0]))
    places = [
        (top, left)
        for top in range(whole["image"].shape[1] - 95)
        for left in range(whole["image"].shape[2] - 95)
        if torch.equal(whole["image"][:, top, left : left + 96], found["image"][:, 0])
        and torch.equal(whole["image"][:, top : top + 96, left : left + 96], found["image"])
    ]
    assert len(places) == 1  # the picture's own pixels
    top, left = places[0]
    boxes = whole["instances"].gt_boxes.tensor - torch.tensor([left, top, left, top])
    boxes = boxes.clamp(0, 96)
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)] * (64 / 96)
    boxes[:, [0, 2]] = 64 - boxes[:, [2, 0]]
    if not with_masks:
        assert torch.allclose(found["instances"].gt_boxes.tensor, boxes, atol=1e-3)
        return
    masks = found["instances"].gt_masks
    assert masks.tensor.shape[1:] == (64, 64) and masks.tensor.flatten(1).any(1).all()
    assert 0 < len(masks) <= len(boxes)


def test_a_crop_leaves_a_smaller_picture_whole(entries):
    mapper = OriginalImageMapper(True, crop=4096, augmentations=[], image_format="BGR")
    assert mapper(dict(entries[0]))["original_size"] == (entries[0]["height"], entries[0]["width"])
    with pytest.raises(SettingError, match="crop must be at least 0, got -1"):
        OriginalImageMapper(True, crop=-1, augmentations=[], image_format="BGR")
