"""PSNR and MS-SSIM against their definitions and a published implementation."""

import numpy as np
import pytest
import torch

from salcompress.codecs import load_codec
from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.metrics.psnr_ssim import ms_ssim, psnr, ssim


def test_psnr_of_a_known_error(picture):
    noisy = picture.copy()
    flat = noisy.reshape(-1)
    flat[::2] = np.where(
        flat[::2] < 128, flat[::2] + 4, flat[::2] - 4
    )  # half of the samples are off by 4
    expected = 10 * np.log10(255**2 / (16 * len(flat[::2]) / len(flat)))
    assert psnr(picture, noisy) == pytest.approx(expected, abs=1e-9)
    assert psnr(picture, picture) is None


@pytest.mark.parametrize("height, width", [(240, 320), (161, 203), (333, 177)])
@pytest.mark.parametrize("spec", ["jpeg:q=5", "jpeg:q=60"])
def test_ms_ssim_agrees_with_pytorch_msssim(height, width, spec):
    reference_ms_ssim = pytest.importorskip("pytorch_msssim").ms_ssim
    original = make_scene(6, 1, height, width).image
    decoded = load_codec(spec).decode(load_codec(spec).encode(original))
    x, y = (
        torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        for image in (original, decoded)
    )
    # both compute in float32, where sums over windows of values up to 65025 differ in the sixth
    # digit
    assert ms_ssim(original, decoded) == pytest.approx(
        reference_ms_ssim(x, y, data_range=255).item(), abs=2e-5
    )


def test_ms_ssim_of_itself_and_of_small_images(picture):
    assert ms_ssim(picture, picture) == pytest.approx(1, abs=1e-6)  # float32 sums
    assert ms_ssim(picture[:160], picture[:160]) is None


def test_shapes_must_agree(picture):
    with pytest.raises(SettingError, match="images must have one shape"):
        psnr(picture, picture[1:])
    with pytest.raises(SettingError, match="image must be a uint8 array"):
        ms_ssim(picture, picture.astype(float))


@pytest.mark.parametrize("height, width", [(240, 320), (11, 11), (57, 203)])
def test_ssim_agrees_with_pytorch_msssim(height, width):
    reference_ssim = pytest.importorskip("pytorch_msssim").ssim
    original = make_scene(6, 2).image[:height, :width]
    decoded = load_codec("jpeg:q=10").decode(load_codec("jpeg:q=10").encode(original))
    x, y = (
        torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        for image in (original, decoded)
    )
    assert ssim(original, decoded) == pytest.approx(
        reference_ssim(x, y, data_range=255).item(), abs=2e-5
    )  # as for MS-SSIM


def test_ssim_of_itself_and_of_small_images(picture):
    assert ssim(picture, picture) == pytest.approx(1, abs=1e-6)  # float32 sums
    assert ssim(picture[:10], picture[:10]) is None
