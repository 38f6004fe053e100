"""Each stage through the trainers: configs, checkpoints, exports, sweeps, several processes."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm

from salcompress.codecs import load_codec
from salcompress.detectron import CompressionTrainer, lazy_engine
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.processes import run_and_leave
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import read_jsonl

from tests.detectron.commands import CONFIGS, arguments, register_scenes

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


@pytest.mark.parametrize("codec", ["salient_task_aware", "salient_joint"])
def test_the_codec_in_the_model_trains_resumes_exports_and_is_swept(codec, scenes_name, tmp_path):
    more = ["SALCOMPRESS.MODEL.LOG_PERIOD", "2", "SALCOMPRESS.MODEL.PERCEPTUAL_WEIGHT", "10.0"]
    args = arguments(codec, tmp_path)
    args.opts += more
    engine.main(args)
    logged = (tmp_path / "metrics.json").read_text()
    for name in (
        "estimated_bpp",
        "real_bpp",
        "psnr",
        "perceptual",
        "real_perceptual",
        "salient_share",
    ):
        assert f'"salcompress/{name}"' in logged, name
    exported = f"salient:weights={tmp_path / 'codec.safetensors'}"
    assert load_codec(exported).model_fingerprint != load_codec("salient").model_fingerprint
    assert (tmp_path / "detector.pth").is_file() == (codec == "salient_joint")
    args = arguments(codec, tmp_path, "--resume", steps=3)
    args.opts += more
    engine.main(args)
    state = torch.load(tmp_path / "model_final.pth", weights_only=False)
    assert state["iteration"] == 2
    args = arguments(codec, tmp_path, "--eval-only")
    args.opts += ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    inside = engine.main(args)
    args.opts += ["SALCOMPRESS.SWEEP", f"['{exported},q=0.1']"]
    engine.main(args)
    (row,) = read_jsonl(tmp_path / "sweep" / scenes_name / "results.jsonl")
    assert row.bpp == pytest.approx(
        inside["compression"]["bpp"], abs=64 / (320 * 240)
    )  # counted, against streams
    assert row.box["AP"] == pytest.approx(inside["bbox"]["AP"], abs=0.3)
    if codec == "salient_joint":  # the detector alone
        args = arguments("none", tmp_path, "--eval-only")
        args.opts += [
            "MODEL.WEIGHTS",
            str(tmp_path / "detector.pth"),
            "SALCOMPRESS.TEST_CODEC",
            f"{exported},q=0.1",
        ]
        assert engine.main(args)["bbox"]["AP"] == pytest.approx(row.box["AP"], abs=0.3)


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
    opts = [
        f"train.output_dir={tmp_path}",
        "train.device=cpu",
        "train.max_iter=1",
        "train.init_checkpoint=''",
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
        (["SALCOMPRESS.STAGE", "model"], "stage model compresses by SALCOMPRESS.MODEL.CODEC"),
    ]:
        args = arguments("jpeg", tmp_path)
        args.opts += opts
        with pytest.raises(SettingError, match=message):
            engine.main(args)
