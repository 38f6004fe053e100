"""The demo's detector as a model of Detectron2's kind."""
import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data.datasets import load_coco_json  # noqa: E402
from detectron2.engine import default_argument_parser  # noqa: E402

from salcompress.detectors.scene_detector import load_scene_detector  # noqa: E402
from salcompress.detectron import CompressedDetector, OriginalImageMapper, TorchvisionModel, load_scene_model, lazy_engine  # noqa: E402
from salcompress.errors import SettingError  # noqa: E402
from salcompress.image import read_image  # noqa: E402

CONFIG = Path(__file__).parents[2] / "detectron_configs" / "scene_detector_lazy.py"


@pytest.fixture(scope="module")
def model():
    return load_scene_model().eval()


def mapped(annotations, mask_format="bitmask"):
    mapper = OriginalImageMapper(is_train=True, augmentations=[], image_format="BGR", use_instance_mask=True, instance_mask_format=mask_format)
    return [mapper(x) for x in load_coco_json(str(annotations), str(annotations.parent / "images"), "test_torchvision_model_in_memory")[:2]]


def test_it_finds_what_the_detector_of_the_demo_finds(model, scenes):
    detect = load_scene_detector(device="cpu")
    for x in mapped(scenes):
        with torch.no_grad():
            found = model([x])[0]["instances"]
        wanted = detect(read_image(x["file_name"]))
        assert len(found) == len(wanted) > 0
        assert [k + 1 for k in found.pred_classes.tolist()] == [d["category_id"] for d in wanted]
        assert found.scores.tolist() == pytest.approx([d["score"] for d in wanted], abs=1e-5)
        assert found.pred_masks.shape == (len(wanted), 240, 320) and found.pred_masks.dtype == torch.bool


@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
def test_it_has_learned_the_annotations_that_it_is_given(model, scenes, mask_format):
    batch = mapped(scenes, mask_format)
    model.train()
    try:
        torch.manual_seed(0)
        losses = model(batch)
        for x in batch:
            x["instances"].gt_classes = (x["instances"].gt_classes + 2) % 6
        torch.manual_seed(0)
        wrong = model(batch)
    finally:
        model.eval()
    assert losses.keys() == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert wrong["loss_classifier"] > 5 * losses["loss_classifier"] and losses["loss_mask"] < 0.4


def test_a_picture_without_objects_gives_losses(model, scenes):
    batch = mapped(scenes)
    batch[0]["instances"] = batch[0]["instances"][:0]
    model.train()
    try:
        assert all(torch.isfinite(value) for value in model(batch).values())
    finally:
        model.eval()


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
        TorchvisionModel(model.model, "YUV-BT.601")


def test_the_lazy_config_goes_on_training_it(scenes, tmp_path):
    from detectron2.data import DatasetCatalog
    from detectron2.data.datasets import register_coco_instances
    if "test_torchvision_model" not in DatasetCatalog:
        register_coco_instances("test_torchvision_model", {}, str(scenes), str(scenes.parent / "images"))
    opts = [f"train.output_dir={tmp_path}", "train.max_iter=1", "dataloader.train.loader.total_batch_size=2"]
    opts += [f"dataloader.{part}.loader.dataset.names=test_torchvision_model" for part in ("train", "test")]
    lazy_engine.main(default_argument_parser().parse_args(["--config-file", str(CONFIG), "--num-gpus", "0", *opts]))
    before, after = load_scene_model().state_dict(), torch.load(tmp_path / "model_final.pth", weights_only=False)["model"]
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name].cpu()) for name in before)
    results = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert 0.05 < results["compression/bpp"] < 0.09 and results["bbox/AP"] > 2
