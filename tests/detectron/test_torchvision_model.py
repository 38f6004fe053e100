"""The demo's detector as a model of Detectron2's kind."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data.datasets import load_coco_json
from detectron2.engine import default_argument_parser
from pycocotools import mask as mask_util

from salcompress.detectors import load_detector
from salcompress.detectron import (
    CompressedDetector,
    OriginalImageMapper,
    TorchvisionModel,
    lazy_engine,
    load_scene_model,
)
from salcompress.errors import SettingError
from salcompress.image import read_image

CONFIG = Path(__file__).parents[2] / "detectron_configs" / "scene_detector_lazy.py"


@pytest.fixture
def model():
    return load_scene_model().eval()


def mapped(annotations, mask_format="bitmask", image_format="BGR"):
    mapper = OriginalImageMapper(
        is_train=True,
        augmentations=[],
        image_format=image_format,
        use_instance_mask=True,
        instance_mask_format=mask_format,
    )
    return [
        mapper(x)
        for x in load_coco_json(
            str(annotations), str(annotations.parent / "images"), "test_torchvision_model_in_memory"
        )[:2]
    ]


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_it_finds_what_the_detector_of_the_demo_finds(scenes, image_format):
    detect, model = (
        load_detector("scenes:device=cpu", range(1, 7)),
        load_scene_model(image_format=image_format).eval(),
    )
    for x in mapped(scenes, image_format=image_format):
        with torch.no_grad():
            found = model([x])[0]["instances"]
        wanted = detect(read_image(x["file_name"]))
        assert x["seen_size"] == detect.input_size(*x["image"].shape[1:]) == (240, 320)
        assert len(found) == len(wanted) > 0
        assert [k + 1 for k in found.pred_classes.tolist()] == [d["category_id"] for d in wanted]
        assert found.scores.tolist() == pytest.approx([d["score"] for d in wanted], abs=1e-5)
        for box, mask, other in zip(found.pred_boxes.tensor.tolist(), found.pred_masks, wanted):
            left, top, width, height = other["bbox"]
            assert box == pytest.approx([left, top, left + width, top + height], abs=0.01)
            assert (mask.numpy() == mask_util.decode(other["segmentation"])).mean() > 0.999


def test_classes_are_the_labels_that_it_is_told(model, scenes):
    """As of COCO, whose labels have gaps: here class 1 is label 5, and labels 2, 4 and 6 are no
    classes.
    """
    gaps = TorchvisionModel(model.model, [1, 5, 3]).eval()
    for x in mapped(scenes):
        with torch.no_grad():
            every, found = model([x])[0]["instances"], gaps([x])[0]["instances"]
        expected = [{0: 0, 4: 1, 2: 2}[k] for k in every.pred_classes.tolist() if k in (0, 2, 4)]
        assert found.pred_classes.tolist() == expected and 0 < len(found) < len(every)
    x["instances"].gt_classes = torch.arange(len(x["instances"])) % 3
    assert set(gaps._target(x)["labels"].tolist()) == {1, 5, 3}
    for wrong in ([1, 1], [0, 1], []):
        with pytest.raises(SettingError, match="labels must be different numbers from 1"):
            TorchvisionModel(model.model, wrong)


def test_what_training_lacks_is_named(model, scenes):
    x, _ = mapped(scenes)
    model.train()
    with pytest.raises(SettingError, match="training needs annotations, and x has"):
        model([{name: value for name, value in x.items() if name != "instances"}])
    x["instances"].remove("gt_masks")
    with pytest.raises(SettingError, match="there are none: map with use_instance_mask=True"):
        model([x])


@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
def test_it_has_learned_the_annotations_that_it_is_given(model, scenes, mask_format):
    batch = mapped(scenes, mask_format)
    model.train()
    torch.manual_seed(0)
    losses = model(batch)
    for x in batch:
        x["instances"].gt_classes = (x["instances"].gt_classes + 2) % 6
    torch.manual_seed(0)
    wrong = model(batch)
    assert losses.keys() == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    assert wrong["loss_classifier"] > 5 * losses["loss_classifier"] and losses["loss_mask"] < 0.4


def test_a_picture_without_objects_gives_losses(model, scenes):
    batch = mapped(scenes)
    batch[0]["instances"] = batch[0]["instances"][:0]
    assert all(torch.isfinite(value) for value in model.train()(batch).values())


def test_a_codec_learns_from_it(scenes):
    around = CompressedDetector(load_scene_model(), "salient:q=0.1,saliency=uniform").train()
    sum(around(mapped(scenes)).values()).backward()
    assert max(p.grad.abs().max() for p in around.codec.parameters() if p.grad is not None) > 0
    assert all(p.grad is None for p in around.detector.parameters())


def test_results_of_another_size_are_refused(model, scenes):
    x = mapped(scenes)[0] | {"height": 480, "width": 640}
    with pytest.raises(SettingError, match="leave resizing to the torchvision model"):
        model([x])
    with pytest.raises(SettingError, match="INPUT.FORMAT"):
        TorchvisionModel(model.model, [1], "YUV-BT.601")


def test_the_lazy_config_goes_on_training_it(scenes, tmp_path):
    from detectron2.data import DatasetCatalog
    from detectron2.data.datasets import register_coco_instances

    if "test_torchvision_model" not in DatasetCatalog:
        register_coco_instances(
            "test_torchvision_model", {}, str(scenes), str(scenes.parent / "images")
        )
    opts = [
        f"train.output_dir={tmp_path}",
        "train.max_iter=1",
        "dataloader.train.loader.total_batch_size=2",
    ]
    opts += [
        f"dataloader.{part}.loader.dataset.names=test_torchvision_model"
        for part in ("train", "test")
    ]
    lazy_engine.main(
        default_argument_parser().parse_args(
            ["--config-file", str(CONFIG), "--num-gpus", "0", *opts]
        )
    )
    before, after = (
        load_scene_model(),
        torch.load(tmp_path / "model_final.pth", weights_only=False)["model"],
    )
    assert before.state_dict().keys() == after.keys()
    assert all(
        not torch.equal(value, after[name].cpu())
        for name, value in before.named_parameters()
        if "layer_blocks.0.0.weight" in name
    )
    logged = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert any(0.05 < line.get("salcompress/bpp", 0) < 0.09 for line in logged)  # in training
    results = logged[-1]
    assert 0.05 < results["compression/bpp"] < 0.09 and results["bbox/AP"] > 2
