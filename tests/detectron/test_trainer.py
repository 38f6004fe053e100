"""Training, evaluation and sweeps end to end, on scenes and on real images."""

import importlib.util

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import default_argument_parser
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.model_zoo import get_config_file
from detectron2.modeling import build_model

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
from salcompress.errors import SettingError
from salcompress.evaluation.evaluate import evaluate
from tests.detectron.commands import CONFIGS, arguments


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes_name):
    """Output folder and results of three steps of training with random compression, in a loader
    process.
    """
    out = tmp_path_factory.mktemp("trained")
    trainer_results = engine.main(
        arguments("random_compression", out, opts=["DATALOADER.NUM_WORKERS", 1], steps=3)
    )
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
    size = ["INPUT.MIN_SIZE_TEST", 120, "INPUT.MAX_SIZE_TEST", 400]
    smaller, _ = evaluated(trained[0], "jpeg", *size)
    assert smaller["compression"]["bpp"] == bits / (6 * 240 * 320)
    assert smaller["compression"]["bpp_detector"] == bits / (6 * 120 * 160)


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


def test_test_time_augmentation_stands_beside_the_plain_figures(trained, scenes_name):
    """As tools/train_net.py of Detectron2 has it."""
    augmentation = ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "(100,)"]
    results, _ = evaluated(trained[0], "none", *augmentation)
    assert set(results) == {"bbox", "segm", "compression", "bbox_TTA", "segm_TTA"}
    plain, _ = evaluated(trained[0], "none")
    assert repr(dict(results["bbox"])) == repr(dict(plain["bbox"]))


def test_settings_of_the_evaluator_reach_it(scenes_name, tmp_path):
    cfg = get_cfg()
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.1, 0.2]
    cfg.TEST.DETECTIONS_PER_IMAGE = 300
    evaluator = CompressionTrainer.build_ap_evaluator(cfg, scenes_name, tmp_path)
    assert evaluator._kpt_oks_sigmas == [0.1, 0.2]
    assert evaluator._max_dets_per_image == [1, 10, 300]
    evaluator = CompressionTrainer.build_ap_evaluator(get_cfg(), scenes_name, tmp_path)
    assert evaluator._max_dets_per_image == [1, 10, 100]


@pytest.mark.parametrize(
    "opts, message",
    [
        (["SALCOMPRESS.STAGES", "gpu"], "SALCOMPRESS.STAGES gpu are no KEY VALUE pairs"),
        (["SALCOMPRESS.STAGE"], "are no KEY VALUE pairs of the config"),
        (["SALCOMPRESS.RANDOM_PROB", "often"], "are no KEY VALUE pairs of the config"),
        (["MODEL.META_ARCHITECTURE", "YOLO"], "'YOLO' cannot be built: No object named 'YOLO'"),
    ],
)
def test_wrong_options_are_named(opts, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        engine.main(arguments("none", tmp_path, opts=opts))


def test_each_command_says_which_configs_it_takes(tmp_path):
    args = arguments("salient", tmp_path)
    args.config_file = str(CONFIGS / "salient_lazy.py")
    with pytest.raises(SettingError, match="salient_lazy.py is a LazyConfig.*lazyconfig_train_net"):
        engine.main(args)
    for name, message in (
        ("scenes_mask_rcnn.yaml", "it has no model, dataloader, train; a YAML config is for"),
        ("no.py", "no.py is no LazyConfig that can be read"),
    ):
        args = ["--config-file", str(CONFIGS / name), "--num-gpus", "0"]
        with pytest.raises(SettingError, match=message):
            lazy_engine.main(default_argument_parser().parse_args(args))


@pytest.mark.parametrize(
    "option, message",
    [
        ("train.max_itr=3", "'train.max_itr=3' sets nothing: .* train has output_dir"),
        ("trains.max_iter=3", "'trains.max_iter=3' sets nothing: the config's parts are"),
        ("train.max_iter=[", r"the options train.max_iter=\[ are no KEY=VALUE of this config"),
    ],
)
def test_wrong_options_of_a_lazy_config_are_named(option, message):
    args = ["--config-file", str(CONFIGS / "salient_lazy.py"), "--num-gpus", "0", option]
    with pytest.raises(SettingError, match=message):
        lazy_engine.main(default_argument_parser().parse_args(args))


def test_lazy_configs_that_mix_formats_are_refused(scenes_name, tmp_path):
    """A model that wants RGB behind mappers of BGR: about a tenth more bits, and nothing fails."""
    args = ["--config-file", str(CONFIGS / "salient_lazy.py"), "--num-gpus", "0"]
    args += [f"train.output_dir={tmp_path}", "train.device=cpu", "model.input_format=RGB"]
    with pytest.raises(SettingError, match="GeneralizedRCNN has RGB pictures.*told BGR"):
        lazy_engine.main(default_argument_parser().parse_args(args))


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


@pytest.mark.slow  # sixty pictures, three times
def test_a_real_mask_rcnn_agrees_inside_and_outside_detectron2(coco_val, tmp_path):
    """Stock GeneralizedRCNN on COCO: the mapper's path and ``evaluate``'s, which resizes and maps
    on its own.
    """
    tool = coco_val.parents[1] / "tools" / "mask_rcnn_nano.py"
    spec = importlib.util.spec_from_file_location("mask_rcnn_nano", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = "test_coco_val"
    if name not in DatasetCatalog:
        register_coco_instances(
            name, {}, str(coco_val / "instances.json"), str(coco_val / "images")
        )
    from detectron2.data import transforms as T

    options = {"augmentations": [T.ResizeShortestEdge(448, 448)], "image_format": "BGR"}
    mapper = CompressedDatasetMapper(False, codec="jpeg:q=10", **options)
    loader = build_detection_test_loader(dataset=DatasetCatalog.get(name), mapper=mapper)
    stage = CompressedLoader(
        build_detection_test_loader(
            dataset=DatasetCatalog.get(name), mapper=OriginalImageMapper(False, **options)
        ),
        "jpeg:q=10",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # this model is slower on two
    try:
        inside, behind = (
            inference_on_dataset(
                module.build_model(),
                pictures,
                DatasetEvaluators(
                    [COCOEvaluator(name, output_dir=str(tmp_path)), CompressionEvaluator()]
                ),
            )
            for pictures in (loader, stage)
        )
        dataset = load_dataset(coco_val / "images", coco_val / "instances.json")
        (outside,) = evaluate(
            dataset,
            load_detector(f"{tool}:build", dataset.category_ids),
            load_codecs("jpeg:q=10"),
            tmp_path / "out",
            workers=1,
        )
    finally:
        torch.set_num_threads(threads)
    assert inside["compression"]["bpp"] == outside.bpp == behind["compression"]["bpp"]
    for task in (
        "bbox",
        "segm",
    ):  # on a GPU the stage resizes like Pillow, but for its rounding between two passes
        assert behind[task]["AP"] == pytest.approx(inside[task]["AP"], abs=0.3)
    assert inside["bbox"]["AP"] == pytest.approx(outside.box["AP"], abs=0.3)
    assert inside["segm"]["AP"] == pytest.approx(outside.mask["AP"], abs=0.3)
    assert (outside.box["AP"], outside.mask["AP"]) == pytest.approx(
        (20.5, 13.1), abs=0.11
    )  # measured by others
