"""The teacher sees what Detectron2 would show it, and imitation reaches the network's backbone."""

import pytest
import torch
from torch import nn

from salcompress.errors import SettingError
from salcompress.saliency.network import SaliencyNet
from salcompress.training.saliency.teacher import Imitation, Teacher
from tests.training.saliency.means_model import MeansModel


def test_the_teacher_sees_blue_first_and_grey_levels():
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 64, 96)
    features = Teacher(MeansModel())(image)
    assert [tuple(x.shape) for x in features] == [(1, 3, 8, 12), (1, 3, 4, 6), (1, 3, 2, 3)]
    expected = torch.tensor([(63.75 - 10) / 1, (127.5 - 20) / 2, (255 - 30) / 4])
    for x in features:
        torch.testing.assert_close(x.mean((0, 2, 3)), expected)


def test_imitation_teaches_the_backbone_alone():
    torch.manual_seed(0)
    network, teacher = SaliencyNet(), Teacher(MeansModel())
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
    one, same, other = MeansModel(), MeansModel(), MeansModel()
    other.pixel_mean += 1
    assert Teacher(one).fingerprint == Teacher(same).fingerprint != Teacher(other).fingerprint


def test_what_is_no_teacher_is_refused():
    with pytest.raises(SettingError, match="must be a Detectron2 model .*; Linear is not"):
        Teacher(nn.Linear(1, 1))
