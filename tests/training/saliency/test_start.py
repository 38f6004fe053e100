"""SaliencyNet's backbone does to RGB in [0, 1] what YOLOX-nano's does to BGR up to 255."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from salcompress.detectors.external import load_external
from salcompress.errors import DataError, SettingError
from salcompress.saliency.backbone import CSPDarknetNano
from salcompress.training.saliency.start import backbone_weights
from tests.conftest import SHARED


class CutStem(nn.Module):
    """A detector's backbone as YOLOX writes it: its stem sees every second pixel as channels."""

    def __init__(self):
        super().__init__()
        self.backbone = CSPDarknetNano()
        self.backbone.stem[0] = nn.Conv2d(12, 16, 3, padding=1)

    def stem(self, image):
        x = 255 * image.flip(1)
        parts = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.backbone.stem(torch.cat(parts, 1))


@torch.no_grad()
def test_features_are_the_detectors(tmp_path):
    torch.manual_seed(0)
    detector, ours = CutStem(), CSPDarknetNano()
    save_file(detector.state_dict(), tmp_path / "d.safetensors")
    ours.load_state_dict(backbone_weights(tmp_path / "d.safetensors"))
    image = torch.rand(2, 3, 64, 96)
    expected = detector.stem(image)
    assert (ours.stem(image) - expected).abs().max() < 1e-5 * expected.abs().max()
    later = {name: value for name, value in ours.state_dict().items() if "dark" in name}
    assert later and all(
        torch.equal(value, detector.backbone.state_dict()[name]) for name, value in later.items()
    )


def test_what_holds_no_such_backbone_is_refused(tmp_path):
    path = tmp_path / "d.safetensors"
    narrow, wide_stem, broken = CutStem(), nn.ModuleDict({"a": CSPDarknetNano()}), CutStem()
    narrow.backbone.dark3 = nn.Identity()
    broken.backbone.dark4[0][1][0].bias.data[3] = torch.nan
    for model, error, message in (
        (nn.Linear(1, 1), SettingError, "holds 0 backbones of YOLOX-nano.*folded"),
        (nn.ModuleList([CutStem(), CutStem()]), SettingError, "holds 2 backbones of YOLOX-nano"),
        (narrow, SettingError, "backbone.dark3.* is .0., and "),
        (wide_stem, SettingError, "a.stem.0.weight is .16, 3, 6, 6., and .16, 12, 3, 3. is wanted"),
        (broken, DataError, "backbone.dark4.0.1.0.bias holds values that are not finite"),
    ):
        save_file(model.state_dict(), path)
        with pytest.raises(error, match=message):
            backbone_weights(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path} is no safetensors file"):
        backbone_weights(path)
    with pytest.raises(DataError, match="gone.safetensors"):
        backbone_weights(tmp_path / "gone.safetensors")


@torch.no_grad()
def test_all_stages_are_those_of_the_real_detector():
    pytest.importorskip("detectron2", reason="needs Detectron2")
    weights = SHARED / "data" / "detector" / "mask_rcnn_nano.safetensors"
    if not weights.is_file():
        pytest.skip("needs shared/data/detector beside the checkout")
    yolox = load_external(SHARED / "tools" / "mask_rcnn_nano.py", "build_model").backbone.yolox
    ours = CSPDarknetNano()
    ours.load_state_dict(backbone_weights(weights))
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    x = 255 * image.flip(1)
    x = torch.cat([x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)], 1)
    x = yolox.stem(x)
    for k, own in enumerate(ours(image)):
        x = getattr(yolox, f"dark{k + 2}")(x)
        assert (own - x).abs().max() < 1e-4 * x.abs().max()
