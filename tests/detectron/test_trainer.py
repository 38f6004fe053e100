"""Training, evaluation and sweeps end to end, on scenes and on real images."""

import importlib.util
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.model_zoo import get_config_file
from detectron2.modeling import build_model
from detectron2.utils import comm

from salcompress.codecs import load_codecs
from salcompress.data.coco import load_dataset
from salcompress.detectors import load_detector
from salcompress.detectron import (
    CompressedDatasetMapper,
    CompressedLoader,
    CompressionEvaluator,
    CompressionTrainer,
    OriginalImageMapper,
    lazy_engine,
)
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.detector import Detectron2Detector, load_detectron2_detector
from salcompress.detectron.processes import run_and_leave
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import read_jsonl

from tests.detectron.commands import CONFIGS, arguments, register_scenes

@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes_name):
    """Output folder and results of three steps of training with random compression, in a loader
    process.
    """
    out = tmp_path_factory.mktemp("trained")
    trainer_results = engine.main(arguments("random_compression", out, opts=["DATALOADER.NUM_WORKERS", 1], steps=3))
    return out, trainer_results


def test_training_leaves_a_checkpoint_and_resumes(trained, scenes_name):
    out, _ = trained
    assert (out / "model_final.pth").is_file() and (
        out / "last_checkpoint"
    ).read_text() == "model_final.pth"
    engine.main(arguments("random_compression", out, "--resume", steps=4))
    assert torch.load(out / "model_final.pth", weights_only=False)["iteration"] == 3


def evaluated(out, codec, *opts):
    args = arguments(
        codec, out, "--eval-only", opts=["MODEL.WEIGHTS", out / "model_final.pth", *opts]
    )
    return engine.main(args), args


def test_rate_stands_beside_ap(trained, scenes_name, scene_dataset):
    results, _ = evaluated(trained[0], "jpeg")
    assert set(results) == {"bbox", "segm", "compression"}
    (codec,) = load_codecs("jpeg:q=30")
    from salcompress.image import read_image

    bits = sum(8 * len(codec.encode(read_image(i.path))) for i in scene_dataset.images)
    assert results["compression"]["bpp"] == bits / (6 * 240 * 320)


def test_no_codec_gives_stock_detectron2s_figures_bit_for_bit(trained, scenes_name, tmp_path):
    ours, args = evaluated(trained[0], "none")
    cfg = engine.setup(args)
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    theirs = inference_on_dataset(
        model,
        build_detection_test_loader(cfg, scenes_name),
        COCOEvaluator(scenes_name, output_dir=str(tmp_path)),
    )
    for task in ("bbox", "segm"):
        assert repr(dict(ours[task])) == repr(dict(theirs[task]))  # repr: NaN equals itself


@pytest.mark.parametrize(
    "codec", ["none", "jpeg", "jpeg2000", "webp", "avif", "random_compression"]
)
def test_each_codec_file_fits_zoo_configs(codec, tmp_path):
    for name in (
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
        "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x.yaml",
    ):
        args = engine.argument_parser().parse_args(
            [
                "--config-file",
                name,
                "--codec-config",
                str(CONFIGS / f"{codec}.yaml"),
                "OUTPUT_DIR",
                str(tmp_path),
            ]
        )
        cfg = engine.setup(args)
        assert CompressedDatasetMapper(cfg, is_train=False).codec.name in (
            codec,
            "jpeg",
        )
        CompressedDatasetMapper(cfg, is_train=True)


def test_stock_training_scripts_need_three_lines(scenes_name, tmp_path):
    """As the README says: the config's node, a codec, the trainer."""
    from salcompress.detectron import add_salcompress_config

    cfg = get_cfg()
    add_salcompress_config(cfg)
    cfg.merge_from_file(get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"))
    cfg.SALCOMPRESS.TEST_CODEC = "jpeg:q=30"
    cfg.OUTPUT_DIR = str(tmp_path)
    entry = next(iter(CompressionTrainer.build_test_loader(cfg, scenes_name)))[0]
    assert entry["num_bits"] > 0 and entry["image"].shape[1] == 800
    kinds = [
        type(e).__name__ for e in CompressionTrainer.build_evaluator(cfg, scenes_name)._evaluators
    ]
    assert kinds == ["COCOEvaluator", "CompressionEvaluator"]


def test_data_sets_of_other_kinds_say_what_to_override(tmp_path):
    MetadataCatalog.get("test_voc").evaluator_type = "pascal_voc"
    with pytest.raises(
        SettingError, match="evaluated as 'pascal_voc'.*override build_ap_evaluator"
    ):
        CompressionTrainer.build_ap_evaluator(get_cfg(), "test_voc", tmp_path)
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("test_voc",)
    with pytest.raises(
        SettingError, match="override build_ap_evaluator"
    ):  # before training, not after
        CompressionTrainer(cfg)


def test_lazy_config_trains_and_evaluates(scenes_name, tmp_path, monkeypatch):
    from detectron2.engine import default_argument_parser

    opts = [
        f"train.output_dir={tmp_path}",
        "train.device=cpu",
        "train.max_iter=1",
        "train.init_checkpoint=''",
        "train.eval_period=0",
        f"dataloader.train.dataset.names={scenes_name}",
        f"dataloader.test.dataset.names={scenes_name}",
        "dataloader.train.total_batch_size=1",
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
        "dataloader.train.mapper.augmentations.0.short_edge_length=[120]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=120",
        "model.roi_heads.num_classes=6",
        "dataloader.test.mapper.codec='jpeg:q=20'",
    ]
    call = ["--config-file", str(CONFIGS / "random_compression_lazy.py"), "--num-gpus", "0"]
    lazy_engine.main(default_argument_parser().parse_args([*call, *opts]))
    weights = tmp_path / "model_final.pth"
    assert weights.is_file()
    results = lazy_engine.main(
        default_argument_parser().parse_args(
            [*call, "--eval-only", *opts, f"train.init_checkpoint={weights}"]
        )
    )
    assert results["compression"]["num_images"] == 6 and 0 < results["compression"]["bpp"] < 2
