"""Fixtures of the tests that train and evaluate with Detectron2."""

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
import torch
from detectron2.modeling import build_model

from salcompress.detectron.config import load_config
from tests.detectron.commands import CONFIGS, register_scenes


@pytest.fixture(scope="session")
def scenes_name(scenes) -> str:
    """Six scenes of 320x240 as a data set of Detectron2's."""
    return register_scenes(scenes)


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory) -> str:
    """A checkpoint of the slim Mask R-CNN, as it was drawn: it finds something everywhere."""
    torch.manual_seed(4)
    model = build_model(load_config(str(CONFIGS / "scenes_mask_rcnn.yaml")))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"model": model.state_dict()}, path)
    return str(path)
