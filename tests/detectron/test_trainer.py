"""Training, evaluation and sweeps end to end, on scenes and on real images."""

import importlib.util
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, inference_on_dataset
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
from salcompress.detectron import trainer as engine
from salcompress.detectron.detector import Detectron2Detector, load_detectron2_detector
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import read_jsonl

CONFIGS = Path(__file__).parents[2] / "detectron_configs"


@pytest.fixture(scope="module")
def scenes_name(scenes):
    name = "test_scenes"
    if name not in DatasetCatalog:
        register_coco_instances(name, {}, str(scenes), str(scenes.parent / "images"))
    return name


def arguments(*more, codec="random_compression", out, scenes_name):
    return engine.argument_parser().parse_args(
        [
            "--num-gpus",
            "0",
            "--config-file",
            str(CONFIGS / "scenes_mask_rcnn.yaml"),
            "--codec-config",
            str(CONFIGS / f"{codec}.yaml"),
            *more,
            "OUTPUT_DIR",
            str(out),
            "DATASETS.TRAIN",
            f"('{scenes_name}',)",
            "DATASETS.TEST",
            f"('{scenes_name}',)",
            "SOLVER.IMS_PER_BATCH",
            "2",
            "SOLVER.MAX_ITER",
            "3",
            "SOLVER.STEPS",
            "()",
            "SOLVER.CHECKPOINT_PERIOD",
            "2",
            "SEED",
            "3",
            "DATALOADER.NUM_WORKERS",
            "1",
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
            "0.0",
        ]
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes_name):
    """Output folder and results of three steps of training with random compression, in a loader
    process.
    """
    out = tmp_path_factory.mktemp("trained")
    trainer_results = engine.main(arguments(out=out, scenes_name=scenes_name))
    return out, trainer_results


def test_training_leaves_a_checkpoint_and_resumes(trained, scenes_name):
    out, _ = trained
    assert (out / "model_final.pth").is_file() and (
        out / "last_checkpoint"
    ).read_text() == "model_final.pth"
    args = arguments("--resume", out=out, scenes_name=scenes_name)
    args.opts += ["SOLVER.MAX_ITER", "4"]
    engine.main(args)
    assert torch.load(out / "model_final.pth", weights_only=False)["iteration"] == 3


def evaluated(out, scenes_name, codec, *more):
    args = arguments("--eval-only", codec=codec, out=out, scenes_name=scenes_name)
    args.opts += ["MODEL.WEIGHTS", str(out / "model_final.pth"), *more]
    return engine.main(args), args


def test_rate_stands_beside_ap(trained, scenes_name, scene_dataset):
    results, _ = evaluated(trained[0], scenes_name, "jpeg")
    assert set(results) == {"bbox", "segm", "compression"}
    (codec,) = load_codecs("jpeg:q=30")
    from salcompress.image import read_image

    bits = sum(8 * len(codec.encode(read_image(i.path))) for i in scene_dataset.images)
    assert results["compression"]["bpp"] == bits / (6 * 240 * 320)


def test_no_codec_gives_stock_detectron2s_figures_bit_for_bit(trained, scenes_name, tmp_path):
    ours, args = evaluated(trained[0], scenes_name, "none")
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


def test_sweep_writes_the_rows_that_evaluate_writes(trained, scenes_name, scene_dataset, tmp_path):
    out, _ = trained
    _, args = evaluated(out, scenes_name, "none", "SALCOMPRESS.SWEEP", "['none', 'jpeg:q=10,40']")
    rows = read_jsonl(out / "sweep" / scenes_name / "results.jsonl")
    cfg = engine.setup(args)
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    expected = evaluate(
        scene_dataset,
        Detectron2Detector(model, cfg, range(1, 7)),
        load_codecs("none", "jpeg:q=10,40"),
        tmp_path,
    )
    for ours, theirs in zip(rows, expected, strict=True):
        unlike = {"detector": "", "encode_s": None, "decode_s": None}
        assert ours._replace(**unlike) == theirs._replace(**unlike)
        assert (ours.encode_s is None) == (theirs.encode_s is None) == (ours.codec == "none")


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
        assert CompressedDatasetMapper(cfg, is_train=False).augmentations.codec.name in (
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


def sharded_results(path, scenes_name, annotations, images):
    """In each of several processes: evaluate its share of the scenes, gather on the first."""
    if scenes_name not in DatasetCatalog:
        register_coco_instances(scenes_name, {}, annotations, images)
    out = Path(path)
    args = arguments(
        "--eval-only", codec="jpeg", out=out / str(comm.get_world_size()), scenes_name=scenes_name
    )
    args.opts += ["MODEL.WEIGHTS", str(out / "model_final.pth")]
    results = engine.main(args)
    args.opts += ["SALCOMPRESS.SWEEP", "['jpeg:q=10']"]
    engine.main(args)
    if comm.is_main_process():
        (out / f"{comm.get_world_size()}.txt").write_text(
            repr({k: dict(v) for k, v in results.items()})
        )


@pytest.mark.usefixtures("processes_without_gpus")
def test_two_processes_give_what_one_gives(trained, scenes_name, scenes):
    from detectron2.engine import launch

    out, _ = trained
    for num_processes in (1, 2):
        launch(
            engine.run_and_leave,
            num_processes,
            dist_url="auto",
            args=(
                sharded_results,
                str(out),
                scenes_name,
                str(scenes),
                str(scenes.parent / "images"),
            ),
        )
    one, two = ((out / f"{n}.txt").read_text() for n in (1, 2))
    assert one.partition("compression")[0] == two.partition("compression")[0]  # AP, digit by digit
    rows = [read_jsonl(out / str(n) / "sweep" / scenes_name / "results.jsonl")[0] for n in (1, 2)]
    assert rows[0]._replace(encode_s=None, decode_s=None) == rows[1]._replace(
        encode_s=None, decode_s=None
    )
    assert (
        eval(one.replace("nan", "None"))["compression"]["bpp"]
        == eval(two.replace("nan", "None"))["compression"]["bpp"]
    )


def test_data_sets_of_other_kinds_say_what_to_override(tmp_path):
    MetadataCatalog.get("test_voc").evaluator_type = "pascal_voc"
    with pytest.raises(
        SettingError, match="evaluated as 'pascal_voc'.*override build_ap_evaluator"
    ):
        CompressionTrainer.build_ap_evaluator("test_voc", tmp_path)
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("test_voc",)
    with pytest.raises(
        SettingError, match="override build_ap_evaluator"
    ):  # before training, not after
        CompressionTrainer(cfg)


def test_detector_specifications(tmp_path, trained, picture):
    out, _ = trained
    config = CONFIGS / "scenes_mask_rcnn.yaml"
    detector = load_detectron2_detector(
        f"detectron2:{config},weights={out / 'model_final.pth'},device=cpu", range(1, 7)
    )
    assert list(detector.category_ids) == [1, 2, 3, 4, 5, 6]
    assert isinstance(detector(picture), list)
    with pytest.raises(
        SettingError, match="neither a config file nor a config of Detectron2's model zoo"
    ):
        load_detectron2_detector("detectron2:COCO-Detection/yolo.yaml", range(1, 7))
    with pytest.raises(SettingError, match="weights file no.pth does not exist"):
        load_detectron2_detector(f"detectron2:{config},weights=no.pth", range(1, 7))
    with pytest.raises(SettingError, match="neither a config file"):
        load_detectron2_detector("detectron2:COCO-Detection", range(1, 7))
    changed = tmp_path / "mine.yaml"
    changed.write_text(config.read_text().replace("MIN_SIZE_TEST: 240", "MIN_SIZE_TEST: 200"))
    other = load_detectron2_detector(
        f"detectron2:{changed},weights={out / 'model_final.pth'},device=cpu", range(1, 7)
    )
    assert other.fingerprint != detector.fingerprint
    with pytest.raises(SettingError, match="names no config"):
        load_detectron2_detector("detectron2:", range(1, 7))
    (tmp_path / "bad.pth").write_bytes(b"x")
    with pytest.raises(DataError, match="bad.pth cannot be loaded"):
        load_detectron2_detector(
            f"detectron2:{config},weights={tmp_path / 'bad.pth'},device=cpu", range(1, 7)
        )


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
