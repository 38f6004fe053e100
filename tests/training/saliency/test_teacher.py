"""The teacher sees what Detectron2 would show it, and imitation reaches the network's backbone."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from salcompress.errors import SettingError
from salcompress.saliency.network import SaliencyNet
from salcompress.training.saliency.teacher import Imitation, Teacher

STRIDES = {"p3": 8, "p4": 16, "p5": 32}


class _Backbone(nn.Module):
    """Means of the input over squares of 8, 16 and 32 pixels."""

    def output_shape(self):
        return {
            name: SimpleNamespace(stride=stride, channels=3)
            for name, stride in reversed(STRIDES.items())
        }

    def forward(self, x):
        return {name: nn.functional.avg_pool2d(x, k) for name, k in STRIDES.items()}


class _Model(nn.Module):
    """What of a Detectron2 model the teacher uses."""

    input_format = "BGR"

    def __init__(self):
        super().__init__()
        self.backbone = _Backbone()
        self.register_buffer("pixel_mean", torch.tensor([10.0, 20, 30]).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([1.0, 2, 4]).view(3, 1, 1))


def test_the_teacher_sees_blue_first_and_grey_levels():
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 64, 96)
    features = Teacher(_Model())(image)
    assert [tuple(x.shape) for x in features] == [(1, 3, 8, 12), (1, 3, 4, 6), (1, 3, 2, 3)]
    expected = torch.tensor([(63.75 - 10) / 1, (127.5 - 20) / 2, (255 - 30) / 4])
    for x in features:
        torch.testing.assert_close(x.mean((0, 2, 3)), expected)


def test_imitation_teaches_the_backbone_alone():
    torch.manual_seed(0)
    network, teacher = SaliencyNet(), Teacher(_Model())
    image = torch.rand(4, 3, 64, 64)
    imitation = Imitation(network.widths[2:], teacher.channels)
    imitation(network.features(image), teacher(image)).backward()
    assert network.stem[0].weight.grad.abs().sum() > 0
    assert network.stage_32[0][0].weight.grad.abs().sum() > 0
    assert network.fusion.weight.grad is None


def test_a_perfect_prediction_costs_nothing():
    taught = [torch.randn(4, 3, s, s) for s in (8, 4, 2)]
    imitation = Imitation((3, 3, 3), (3, 3, 3))
    for predict in imitation.predict:
        nn.init.dirac_(predict.weight)
        nn.init.zeros_(predict.bias)
    wanted = [norm(x) for norm, x in zip(imitation.normalize, taught)]
    features = SaliencyNet().features(torch.rand(2, 3, 32, 32))
    own = type(features)(features.stride_4, *wanted)
    assert imitation(own, taught) < 1e-10
    assert imitation(own, [-x for x in taught]) > 1


def test_a_fingerprint_is_of_the_weights():
    one, same, other = _Model(), _Model(), _Model()
    other.pixel_mean += 1
    assert Teacher(one).fingerprint == Teacher(same).fingerprint != Teacher(other).fingerprint


def test_what_is_no_teacher_is_refused():
    with pytest.raises(SettingError, match="must be a Detectron2 model .*; Linear is not"):
        Teacher(nn.Linear(1, 1))
