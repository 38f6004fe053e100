"""A detector's own losses and features tell codecs apart."""

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")

from salcompress.codecs import load_codecs
from salcompress.detectron import measured_losses as measured
from salcompress.errors import SettingError
from tests.detectron.commands import CONFIGS
from tests.tools.script import run_script

MODEL = """
import torch
from detectron2.modeling import build_model as build
from salcompress.detectron.config import load_config


def build_model():
    torch.manual_seed(3)
    return build(load_config({config!r})).eval()
"""


@pytest.fixture
def options(tmp_path, scenes):
    """Options for a detector with random weights and the scenes of the tests."""
    path = tmp_path / "model.py"
    path.write_text(MODEL.format(config=str(CONFIGS / "scenes_mask_rcnn.yaml")))
    return [
        f"model.detector.path={path}",
        f"dataloader.train.dataset.json_file={scenes}",
        f"dataloader.train.dataset.image_root={scenes.parent / 'images'}",
        "dataloader.train.mapper.crop=96",
    ]


CONFIG = str(CONFIGS / "external_task_aware_lazy.py")


def test_features_go_away_as_bits_do(options):
    codecs = load_codecs("png", "jpeg:q=60,5")
    png, fine, coarse = (
        list(map(float, row[1:])) for row in measured.measure_config(CONFIG, options, codecs)
    )
    assert png[2] == 0 < fine[2] < coarse[2]
    assert png[0] > fine[0] > coarse[0]
    assert png[1] != coarse[1]
    again = measured.measure_config(CONFIG, options, codecs[1:])
    assert list(map(float, again[0][1:])) == fine  # the same crops and proposals


def test_the_tool_prints_a_table(options, capsys):
    arguments = ["--config-file", CONFIG, "--codec", "jpeg:q=30", "--passes", "2", *options]
    assert run_script("detector_losses.py", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| codec | bpp | detection loss | feature distance |"
    assert lines[2].startswith("| jpeg:q=30,")


def test_a_config_without_a_codec_in_its_model_is_refused():
    with pytest.raises(SettingError, match="give a LazyConfig of stage model"):
        measured.measure_config(str(CONFIGS / "scene_detector_lazy.py"), [], load_codecs("png"))
