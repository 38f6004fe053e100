"""Each stage through the trainers: configs, checkpoints, exports, sweeps."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import default_argument_parser

from salcompress.codecs import load_codec
from salcompress.detectron import lazy_engine
from salcompress.detectron import yaml_engine as engine
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import read_jsonl
from tests.detectron.commands import CONFIGS, SCENES, arguments


def test_the_stage_behind_the_loader_gives_what_the_mapper_gives(scenes_name, tmp_path):
    engine.main(arguments("salient_gpu", tmp_path))
    results = {}
    for codec in ("salient", "salient_gpu"):
        args = arguments(codec, tmp_path, "--eval-only")
        args.opts += [
            "MODEL.WEIGHTS",
            str(tmp_path / "model_final.pth"),
            "SALCOMPRESS.TEST_CODEC",
            "salient:q=0.1,device=cpu",
        ]
        results[codec] = engine.main(args)
    mapper, stage = results["salient"], results["salient_gpu"]
    assert mapper["compression"] == stage["compression"]  # real streams: the same symbols
    for figure, value in mapper["bbox"].items():  # of pixels that differ by a grey level at most
        assert stage["bbox"][figure] == pytest.approx(value, abs=0.3, nan_ok=True)


def test_expected_results_are_verified(scenes_name, tmp_path):
    args = arguments("quick", tmp_path)
    args.opts += ["TEST.EXPECTED_RESULTS", "[['compression', 'num_images', 6.0, 0.0]]"]
    assert engine.main(args)["compression"]["num_images"] == 6
    args = arguments("quick", tmp_path, "--eval-only")
    args.opts += [
        "MODEL.WEIGHTS",
        str(tmp_path / "model_final.pth"),
        "TEST.EXPECTED_RESULTS",
        "[['compression', 'bpp', 0.01, 0.001]]",
    ]
    with pytest.raises(SystemExit):
        engine.main(args)


@pytest.fixture(scope="module", params=["salient_task_aware", "salient_joint"])
def in_the_model(request, tmp_path_factory, scenes_name, random_weights):
    """A config with the codec in the model, and the output of two steps of training by it."""
    codec, out = request.param, tmp_path_factory.mktemp(request.param)
    opts = ["SALCOMPRESS.MODEL.LOG_PERIOD", 2, "MODEL.WEIGHTS", random_weights]
    engine.main(arguments(codec, out, opts=opts))
    return codec, out


def test_the_codec_in_the_model_logs_exports_and_resumes(in_the_model):
    codec, out = in_the_model
    logged = (out / "metrics.json").read_text()
    for name in ("estimated_bpp", "real_bpp", "psnr", "real_perceptual", "salient_share"):
        assert f'"salcompress/{name}"' in logged, name
    exported = load_codec(f"salient:weights={out / 'codec.safetensors'}")
    assert exported.model_fingerprint != load_codec("salient").model_fingerprint
    assert (out / "detector.pth").is_file() == (codec == "salient_joint")
    more = ["SALCOMPRESS.MODEL.PERCEPTUAL_WEIGHT", 10.0]
    engine.main(arguments(codec, out, "--resume", opts=more, steps=3))
    assert torch.load(out / "model_final.pth", weights_only=False)["iteration"] == 2
    assert '"salcompress/perceptual"' in (out / "metrics.json").read_text()


def test_what_was_trained_is_what_is_tested_swept_and_exported(in_the_model, tmp_path):
    """Counted rates are within 64 bits of streams, and pixels within a grey level."""
    codec, out = in_the_model
    exported = f"salient:weights={out / 'codec.safetensors'},q=0.1,device=cpu"
    opts = ["MODEL.WEIGHTS", out / "model_final.pth"]
    inside = engine.main(arguments(codec, tmp_path, "--eval-only", opts=opts))
    sweep = ["SALCOMPRESS.SWEEP", f"['{exported}']"]
    engine.main(arguments(codec, tmp_path, "--eval-only", opts=[*opts, *sweep]))
    (row,) = read_jsonl(tmp_path / "sweep" / SCENES / "results.jsonl")
    assert row.bpp == pytest.approx(inside["compression"]["bpp"], abs=64 / (320 * 240))
    assert row.bpp_detector == pytest.approx(
        inside["compression"]["bpp_detector"], abs=64 / (320 * 240)
    )
    assert row.box["AP"] == pytest.approx(inside["bbox"]["AP"], abs=0.3)
    opts += ["SALCOMPRESS.TEST_CODEC", exported]  # the detector alone, without the stage
    alone = engine.main(arguments("none", tmp_path, "--eval-only", opts=opts))
    assert alone["compression"]["bpp"] == row.bpp
    assert alone["compression"]["bpp_detector"] == row.bpp_detector
    assert alone["bbox"]["AP"] == pytest.approx(row.box["AP"], abs=0.3)


def test_a_detector_trains_behind_a_codec_as_it_is(scenes_name, tmp_path):
    args = arguments("salient_detector", tmp_path)
    args.opts += ["SALCOMPRESS.MODEL.LOG_PERIOD", "2"]
    engine.main(args)
    assert (tmp_path / "detector.pth").is_file() and not (tmp_path / "codec.safetensors").exists()
    assert all(
        f'"salcompress/{name}"' in (tmp_path / "metrics.json").read_text()
        for name in ("bpp", "real_bpp", "real_psnr")
    )


@pytest.mark.parametrize(
    "config",
    [
        "salient_lazy",
        "salient_gpu_lazy",
        "salient_task_aware_lazy",
        "salient_joint_lazy",
        "salient_detector_lazy",
    ],
)
def test_lazy_configs_of_each_use(config, scenes_name, tmp_path):
    wrapped, inner = (
        (".detector" if any(part in config for part in ("aware", "joint", "detector")) else ""),
        (".loader" if "gpu" in config else ""),
    )
    weights = ""
    if "aware" in config:  # a codec is trained for a detector that has weights
        cfg = LazyConfig.load(str(CONFIGS / f"{config}.py"))
        cfg.model.detector.roi_heads.num_classes = 6
        weights = tmp_path / "detector.pth"
        torch.save({"model": instantiate(cfg.model.detector).state_dict()}, weights)
    opts = [
        f"train.output_dir={tmp_path}",
        "train.device=cpu",
        "train.max_iter=1",
        f"train.init_checkpoint='{weights}'",
        "train.eval_period=0",
        f"model{wrapped}.roi_heads.num_classes=6",
        f"dataloader.train{inner}.total_batch_size=1",
        f"dataloader.train{inner}.mapper.augmentations.0.short_edge_length=[96]",
        f"dataloader.test{inner}.mapper.augmentations.0.short_edge_length=96",
    ]
    for part in ("train", "test"):
        opts += [
            f"dataloader.{part}{inner}.dataset.names={scenes_name}",
            f"dataloader.{part}{inner}.num_workers=0",
        ]
    call = ["--config-file", str(CONFIGS / f"{config}.py"), "--num-gpus", "0", *opts]
    lazy_engine.main(default_argument_parser().parse_args(call))  # which ends with an evaluation
    assert (tmp_path / "model_final.pth").is_file() and (
        tmp_path / "codec.safetensors"
    ).is_file() == ("aware" in config or "joint" in config)


def test_a_model_of_a_file_gets_a_codec_of_its_own(scenes, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from detectron2.modeling import build_model as build\nfrom "
        "salcompress.detectron.config import load_config\n"
        "def build_model():\n    return "
        f"build(load_config({str(CONFIGS / 'scenes_mask_rcnn.yaml')!r})).eval()\n"
    )
    opts = [
        f"model.detector.path={tmp_path / 'mine.py'}",
        f"dataloader.train.dataset.json_file={scenes}",
        "train.max_iter=1",
        f"dataloader.train.dataset.image_root={scenes.parent / 'images'}",
        "dataloader.train.total_batch_size=1",
        "dataloader.train.mapper.crop=128",
        f"train.output_dir={tmp_path}",
    ]
    lazy_engine.main(
        default_argument_parser().parse_args(
            [
                "--config-file",
                str(CONFIGS / "external_task_aware_lazy.py"),
                "--num-gpus",
                "0",
                *opts,
            ]
        )
    )
    assert load_codec(f"salient:weights={tmp_path / 'codec.safetensors'}").name == "salient"


def test_stages_that_do_not_fit_are_refused(scenes_name, tmp_path):
    for opts, message in [
        (["SALCOMPRESS.STAGE", "loader"], "must be one of mapper, gpu, model, got 'loader'"),
        (
            ["SALCOMPRESS.STAGE", "gpu", "SALCOMPRESS.CACHE_DIR", "cache"],
            "CACHE_DIR is of stage mapper",
        ),
        (
            [
                "SALCOMPRESS.STAGE",
                "model",
                "SALCOMPRESS.TEST_CODEC",
                "none",
                "SALCOMPRESS.TRAIN_CODEC",
                "none",
                "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
                "value",
            ],
            "2-norm of its gradients",
        ),
        (["SALCOMPRESS.STAGE", "model", "TEST.AUG.ENABLED", "True"], "TEST.AUG is of Detectron2's"),
        (["SALCOMPRESS.STAGE", "model"], "stage model compresses by SALCOMPRESS.MODEL.CODEC"),
    ]:
        args = arguments("jpeg", tmp_path)
        args.opts += opts
        with pytest.raises(SettingError, match=message):
            engine.main(args)
