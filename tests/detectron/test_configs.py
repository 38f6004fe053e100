"""What the configs promise, and what the commands say of a machine that lacks something."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")

from salcompress.codecs import load_codec
from salcompress.data.scenes import write_scenes
from salcompress.detectron import lazy_engine
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.config import load_config, merge_file
from salcompress.detectron.processes import launch_command, run_and_leave
from salcompress.detectron.scenes_dataset import SCENE_SETS
from salcompress.errors import DataError, SettingError
from salcompress.image import read_image
from tests.detectron.commands import CONFIGS, arguments


def test_the_rate_that_quick_expects_is_that_of_the_shipped_weights(tmp_path):
    """Who checks an installation by it would otherwise read that his is broken."""
    cfg = load_config(str(CONFIGS / "scenes_mask_rcnn.yaml"))
    merge_file(cfg, str(CONFIGS / "quick.yaml"))
    expected = {name: figures for _, name, *figures in cfg.TEST.EXPECTED_RESULTS}
    write_scenes(tmp_path, *SCENE_SETS[cfg.DATASETS.TEST[0]])
    codec = load_codec(cfg.SALCOMPRESS.TEST_CODEC)
    images = [read_image(path) for path in sorted((tmp_path / "images").iterdir())]
    bits = sum(8 * len(codec.encode(image)) for image in images)
    bpp, tolerance = expected["bpp"]
    assert bits / sum(image[..., 0].size for image in images) == pytest.approx(bpp, abs=tolerance)
    assert len(images) == expected["num_images"][0]


def test_a_device_that_is_not_there_is_said_before_any_process_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    args = arguments("jpeg", tmp_path, opts=["MODEL.DEVICE", "cuda"])
    with pytest.raises(SettingError, match="torch finds no GPU here: give MODEL.DEVICE cpu"):
        launch_command(args, engine.device_of, engine.main)
    args = engine.argument_parser().parse_args(
        ["--config-file", str(CONFIGS / "scene_detector_lazy.py"), "train.device=cuda:0"]
    )
    with pytest.raises(SettingError, match="train.device=cpu in a LazyConfig"):
        launch_command(args, lazy_engine.device_of, lazy_engine.main)


def test_a_data_set_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"instances.json does not exist$"):
        run_and_leave(open, tmp_path / "instances.json")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(DataError, match=r"instances.json does not exist; .*DETECTRON2_DATASETS"):
        run_and_leave(open, tmp_path / "instances.json")
