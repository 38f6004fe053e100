"""Networks beside the detector teach the codec by their features."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from torch import nn

from salcompress.detectors.scenes import build_model
from salcompress.detectron import (
    CompressedDetector,
    LossWeights,
    TorchvisionFeatures,
    load_scene_features,
)
from salcompress.detectron.teachers import teacher_losses
from salcompress.errors import SettingError

UNIFORM = "salient:q=0.3,saliency=uniform,device=cpu"


class Bare(nn.Module):
    """A detector with a backbone of one feature, and nothing to learn from labels."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 4, 4)
        self.backbone.register_forward_hook(lambda module, given, output: {"p": output})

    def preprocess_image(self, inputs):
        class Images:
            tensor = torch.stack([x["image"].float() for x in inputs])

        return Images


@pytest.fixture
def pictures():
    torch.manual_seed(1)
    return [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]


def test_equal_pictures_are_at_no_distance_and_others_pull(pictures):
    teacher = load_scene_features(weight=0.5)
    assert teacher_losses([teacher], pictures, pictures, 2.0)["loss_teacher_0"] == 0
    others = [(picture.float() + 8).requires_grad_() for picture in pictures]
    loss = teacher_losses([teacher], others, pictures, 2.0)["loss_teacher_0"]
    loss.backward()
    assert loss > 0 and all(other.grad.abs().sum() > 0 for other in others)
    double = teacher_losses([load_scene_features(weight=1.0)], others, pictures, 2.0)
    assert double["loss_teacher_0"].item() == pytest.approx(2 * loss.item(), rel=1e-5)
    assert not teacher_losses([], pictures, pictures, 2.0)


def test_pictures_of_several_sizes_go_together(pictures):
    sizes = [pictures[0], pictures[1][:, :32]]
    assert teacher_losses([load_scene_features()], sizes, sizes, 1.0)["loss_teacher_0"] == 0


def test_they_see_what_the_detector_sees_in_rgb(pictures):
    seen = []

    class Teacher:
        weight = 1.0

        def __call__(self, batch):
            seen.append(batch)
            return {"pixels": batch}

    model = CompressedDetector(
        Bare(),
        UNIFORM,
        labels=False,
        weights=LossWeights(distillation=1.0),
        teachers=[Teacher()],
    ).train()
    losses = model([{"image": picture.flip(0)} for picture in pictures])
    assert torch.equal(seen[0], torch.stack(pictures).float() / 255)
    losses["loss_teacher_0"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.codec.parameters())


def test_a_teacher_is_frozen():
    network = build_model()
    assert not any(p.requires_grad for p in TorchvisionFeatures(network).model.parameters())
    assert not network.training


def test_teachers_without_distillation_are_refused():
    with pytest.raises(SettingError, match="teachers compare features"):
        CompressedDetector(Bare(), UNIFORM, teachers=[load_scene_features()])
