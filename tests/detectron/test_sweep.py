"""A sweep is ``salcompress evaluate`` of a Detectron2 model: the same rows and the same folder."""

import json
import shutil

import pytest
import torch
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from salcompress.codecs import load_codecs
from salcompress.data.coco import load_dataset
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.detector import Detectron2Detector
from salcompress.detectron.sweep import registered_dataset, sweep
from salcompress.errors import SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.image import read_image
from tests.detectron.commands import arguments


def swept(out, weights, codecs, *opts):
    """Config, model and rows of a sweep."""
    opts = ["MODEL.WEIGHTS", weights, "SALCOMPRESS.SWEEP", repr(list(codecs)), *opts]
    cfg = engine.setup(arguments("none", out, "--eval-only", opts=opts))
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return cfg, model, sweep(cfg, model, cfg.DATASETS.TEST[0])


def comparable(rows):
    """Rows without what is not of the figures: who detected, and seconds."""
    return [row._replace(detector="", encode_s=None, decode_s=None) for row in rows]


@pytest.fixture(scope="module")
def gaps_name(scenes):
    """The scenes with category ids that have gaps and are out of order."""
    content = json.loads(scenes.read_text())
    numbers = dict(zip(range(1, 7), (3, 7, 20, 41, 42, 90)))
    for category in content["categories"]:
        category["id"] = numbers[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = numbers[annotation["category_id"]]
    content["categories"].reverse()
    path = scenes.parent / "gaps.json"
    path.write_text(json.dumps(content))
    name = "test_scenes_with_gaps"
    if name not in DatasetCatalog:
        register_coco_instances(name, {}, str(path), str(scenes.parent / "images"))
    return name


def test_a_sweep_is_evaluate_of_the_model(scenes_name, scene_dataset, random_weights, tmp_path):
    codecs = ["none", "jpeg:q=10,40", "salient:q=0.2,saliency=uniform,device=cpu"]
    cfg, model, rows = swept(tmp_path / "sweep", random_weights, codecs)
    detector = Detectron2Detector(model, cfg, (1, 2, 3, 4, 5, 6))
    expected = evaluate(scene_dataset, detector, load_codecs(*codecs), tmp_path / "evaluate")
    assert comparable(rows) == comparable(expected)
    assert rows[-1].object_bits is not None
    folder = tmp_path / "sweep" / "sweep" / scenes_name
    assert read_jsonl(folder / "results.jsonl") == rows
    assert (folder / "report.html").is_file() and (folder / "summary.csv").is_file()


class Truth(nn.Module):
    """Finds what is annotated, in pictures of known pixels; class k is the k-th category."""

    def __init__(self, dicts):
        super().__init__()
        self.known = [(torch.from_numpy(read_image(d["file_name"])), d) for d in dicts]

    def forward(self, inputs):
        (x,) = inputs
        rgb = x["image"].flip(0).permute(1, 2, 0)
        (entry,) = (entry for pixels, entry in self.known if torch.equal(pixels, rgb))
        boxes = torch.tensor([a["bbox"] for a in entry["annotations"]]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((x["height"], x["width"]), pred_boxes=Boxes(boxes))
        instances.scores = torch.ones(len(boxes))
        instances.pred_classes = torch.tensor([a["category_id"] for a in entry["annotations"]])
        return [{"instances": instances}]


def test_class_k_is_the_kth_category_id(gaps_name, scenes, random_weights, tmp_path):
    """Truth gets AP 100 from the sweep and from ``evaluate``, whatever the ids are."""
    opts = ["MODEL.WEIGHTS", random_weights, "SALCOMPRESS.SWEEP", "['none']"]
    opts += ["INPUT.MIN_SIZE_TEST", 240, "DATASETS.TEST", f"('{gaps_name}',)"]
    cfg = engine.setup(arguments("none", tmp_path, "--eval-only", opts=opts))
    model = Truth(DatasetCatalog.get(gaps_name))
    rows = sweep(cfg, model, gaps_name)
    dataset, category_ids = registered_dataset(gaps_name)
    assert category_ids == (3, 7, 20, 41, 42, 90) and len(dataset.images) == 6
    expected = evaluate(
        load_dataset(scenes.parent / "images", scenes.parent / "gaps.json"),
        Detectron2Detector(model, cfg, category_ids),
        load_codecs("none"),
        tmp_path / "evaluate",
    )
    assert rows[0].box["AP"] == pytest.approx(100)
    assert comparable(rows) == comparable(expected)


def test_a_data_set_has_the_images_that_the_catalog_lists(scenes_name, scenes):
    name = "test_scenes_in_part"
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: DatasetCatalog.get(scenes_name)[:2])
    known = MetadataCatalog.get(scenes_name)
    MetadataCatalog.get(name).set(
        json_file=known.json_file,
        image_root=known.image_root,
        thing_dataset_id_to_contiguous_id={k + 1: k for k in range(6)},
    )
    whole, part = (registered_dataset(each)[0] for each in (scenes_name, name))
    assert part.images == whole.images[:2] and part.fingerprint != whole.fingerprint


def test_a_sweep_goes_on_and_one_of_another_model_begins_anew(
    scenes_name, random_weights, tmp_path, monkeypatch
):
    _, _, first = swept(tmp_path, random_weights, ["jpeg:q=40"])

    def refuse(self, image):
        raise AssertionError("what was measured is measured again")

    monkeypatch.setattr(Detectron2Detector, "__call__", refuse)
    _, _, again = swept(tmp_path, random_weights, ["jpeg:q=40"])
    assert again == first
    monkeypatch.undo()
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.9]
    _, _, other = swept(tmp_path, random_weights, ["jpeg:q=40"], *opts)
    shutil.rmtree(tmp_path)
    _, _, expected = swept(tmp_path, random_weights, ["jpeg:q=40"], *opts)
    assert comparable(other) == comparable(expected) != comparable(first)


def test_what_rows_cannot_hold_is_refused(scenes_name, random_weights, tmp_path):
    with pytest.raises(
        SettingError, match="counts 100 detections.*TEST.DETECTIONS_PER_IMAGE is 300"
    ):
        swept(tmp_path, random_weights, ["none"], "TEST.DETECTIONS_PER_IMAGE", 300)
    with pytest.raises(SettingError, match="finds 5 classes .* and the data set has 6 categories"):
        swept(tmp_path, random_weights, ["none"], "MODEL.ROI_HEADS.NUM_CLASSES", 5)
    with pytest.raises(SettingError, match="'nowhere' is not registered"):
        registered_dataset("nowhere")
