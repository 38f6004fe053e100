"""Which weights a command takes, and what it says of others."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.engine import default_argument_parser

from salcompress.detectron import lazy_engine
from salcompress.detectron import yaml_engine as engine
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.models.compression_model import load_model
from tests.detectron.commands import CONFIGS, SCENES, arguments


@pytest.fixture(scope="module")
def jointly_trained(tmp_path_factory, scenes_name):
    """Output of a training of codec and detector in stage model."""
    out = tmp_path_factory.mktemp("joint")
    engine.main(arguments("salient_joint", out))
    return out


def evaluation(codec, out, weights, *opts):
    opts = ["MODEL.WEIGHTS", weights, *opts]
    return engine.main(arguments(codec, out, "--eval-only", opts=opts))


def test_train_in_stage_model_and_sweep_without_it(jointly_trained, tmp_path):
    """The README's two commands in a row: the sweep has the detector that was trained."""
    sweep = ["SALCOMPRESS.SWEEP", "['jpeg:q=40']"]
    rows = []
    for name in ("model_final.pth", "detector.pth"):
        evaluation("none", tmp_path / name, jointly_trained / name, *sweep)
        rows += read_jsonl(tmp_path / name / "sweep" / SCENES / "results.jsonl")
    unlike = {"detector": "", "encode_s": None, "decode_s": None}
    assert rows[0]._replace(**unlike) == rows[1]._replace(**unlike)


def test_random_weights_are_not_evaluated(scenes_name, random_weights, tmp_path):
    with pytest.raises(SettingError, match="MODEL.WEIGHTS is empty, and random weights measure"):
        evaluation("none", tmp_path, "")
    part = {
        name: value
        for name, value in torch.load(random_weights)["model"].items()
        if not name.startswith("roi_heads.mask_head")
    }
    torch.save({"model": part}, tmp_path / "no_masks.pth")
    for codec in ("none", "salient_joint"):
        with pytest.raises(
            DataError, match="no_masks.pth are of another model: 8 of its .*roi_heads.mask_head"
        ):
            evaluation(codec, tmp_path, tmp_path / "no_masks.pth")
    with pytest.raises(DataError, match="gone.pth cannot be loaded"):
        evaluation("none", tmp_path, tmp_path / "gone.pth")


def test_another_number_of_classes_is_another_model(scenes_name, random_weights, tmp_path):
    for codec in ("none", "salient_joint"):
        with pytest.raises(DataError, match="of another shape .*cls_score.weight"):
            evaluation(codec, tmp_path, random_weights, "MODEL.ROI_HEADS.NUM_CLASSES", 5)


def test_training_begins_with_what_fits(scenes_name, random_weights, tmp_path):
    part = {
        name: value
        for name, value in torch.load(random_weights)["model"].items()
        if name.startswith("backbone.")
    }
    torch.save({"model": part}, tmp_path / "backbone.pth")
    opts = ["MODEL.WEIGHTS", tmp_path / "backbone.pth"]
    engine.main(arguments("none", tmp_path / "out", opts=opts, steps=1))
    torch.save({"model": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    opts = ["MODEL.WEIGHTS", tmp_path / "other.pth"]
    with pytest.raises(DataError, match=r"other.pth are of another model: (\d+) of its \1 param"):
        engine.main(arguments("none", tmp_path / "out", opts=opts, steps=1))


def test_a_codec_is_not_trained_for_a_random_detector(scenes_name, tmp_path):
    with pytest.raises(SettingError, match="MODEL.WEIGHTS is empty"):
        engine.main(arguments("salient_task_aware", tmp_path))


def test_a_training_is_resumed_in_its_own_stage(jointly_trained, random_weights):
    for codec in ("none", "salient_task_aware"):
        opts = ["MODEL.WEIGHTS", random_weights]
        args = arguments(codec, jointly_trained, "--resume", opts=opts, steps=3)
        with pytest.raises(SettingError, match="resume with the SALCOMPRESS.STAGE and MODEL.TRAI"):
            engine.main(args)


def test_lazy_configs_of_models_without_weights_are_not_evaluated(scenes_name, tmp_path):
    args = ["--config-file", str(CONFIGS / "salient_lazy.py"), "--num-gpus", "0", "--eval-only"]
    args += [f"train.output_dir={tmp_path}", "train.device=cpu", "train.init_checkpoint=''"]
    with pytest.raises(SettingError, match="train.init_checkpoint in a LazyConfig"):
        lazy_engine.main(default_argument_parser().parse_args(args))


def test_a_checkpoint_that_does_not_say_which_levels_were_drawn_is_trained_at_all(
    jointly_trained, random_weights, tmp_path
):
    """Few pictures after a resume do not decide what the many before it have trained."""
    checkpoint = torch.load(jointly_trained / "model_final.pth")
    assert 0 < checkpoint["model"].pop("codec.cells_of_level").sum() < 1000
    path = tmp_path / "model_final.pth"
    torch.save(checkpoint, path)
    (tmp_path / "last_checkpoint").write_text(path.name)
    opts = ["MODEL.WEIGHTS", random_weights]
    engine.main(arguments("salient_joint", tmp_path, "--resume", opts=opts, steps=3))
    resumed = torch.load(path)["model"]
    assert resumed["codec.cells_of_level"].min() >= 2**40
    exported = load_model(tmp_path / "codec.safetensors")[0].state_dict()
    for name in ("latent_gain.log2_gain", "prior.embedding.table"):
        trained = resumed[f"codec.networks.{name}"]
        torch.testing.assert_close(exported[name], trained, rtol=0, atol=2e-3)
