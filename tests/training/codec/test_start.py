"""A training of the codec begins with what is known already."""

import pytest
import torch

from salcompress.errors import SettingError
from salcompress.models.compression_model import CompressionModel, ModelConfig, save_model
from salcompress.models.lagrangian import (
    rate_distortion,
)
from salcompress.models.transforms import initialise_as_klt
from salcompress.training.codec import starting_model
from salcompress.training.codec.growth import grow
from tests.training.codec.tiny import (
    TINY,
    one_batch,
    tiny_model,
)


def test_klt_start_is_the_best_linear_codec(pictures):
    model = tiny_model()
    images = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    initialise_as_klt(model.analysis, model.synthesis, images, 5.0)
    pixels = images[0][None, :, :256, :256].float() / 255
    ones = torch.ones(1, 64, 16, 16)
    with torch.no_grad():
        error = (model.synthesis(model.analysis(pixels, ones), ones) - pixels).square().mean()
    assert (
        10 * torch.log10(1 / error) > 25
    )  # 48 of 768 numbers a block are kept; random weights give about 10 dB


def test_growing_keeps_what_was_learned(photographs):
    """To the last bit of the rate: the larger model begins as the smaller one."""
    small, large = tiny_model(), CompressionModel(ModelConfig(72, 80, 48, 8, 24, 4, 3, 5, 6, 3))
    train_a_little(small, photographs)
    grow(small, large)
    image, levels = one_batch(photographs, 2, 128)
    with torch.no_grad():
        before, after = (model(image, levels, hard=True) for model in (small, large))
    assert torch.equal(before.estimated_bits_1, after.estimated_bits_1) and torch.equal(
        before.estimated_bits_2, after.estimated_bits_2
    )
    assert torch.allclose(before.reconstruction, after.reconstruction, atol=1e-5)
    train_a_little(large, photographs)
    old_blocks, old_width = small.config.synthesis_blocks_8, small.config.channels_8
    for new in (
        large.synthesis.tail[old_blocks].narrow.weight,
        large.synthesis.tail[-2].weight[:, old_width:],
        large.prior.refine.weight[:, 16:],
    ):
        assert new.abs().max() > 0  # gradients have found what was silent
    with pytest.raises(
        SettingError, match="a model with channels_8 72 cannot grow into one with 64"
    ):
        grow(large, tiny_model())


def train_a_little(model, photographs):
    image, levels = one_batch(photographs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        rate_distortion(model(image, levels), image, levels).loss.backward()
        optimizer.step()
        model.prior.project()


def test_what_a_training_begins_with(pictures, tmp_path):
    begun = starting_model(TINY, None, pictures)
    (tmp_path / "w.safetensors").write_bytes(save_model(begun))
    assert starting_model(None, tmp_path / "w.safetensors", []).config == TINY
    larger = ModelConfig(72, 64, 48, 8, 16)
    assert starting_model(larger, tmp_path / "w.safetensors", []).config == larger
    with pytest.raises(SettingError, match="begins with a config or with a weights file"):
        starting_model(None, None, pictures)
    with pytest.raises(
        SettingError,
        match="the start as a KLT needs photographs with both sides of at least 256 pixels",
    ):
        starting_model(TINY, None, [pictures[0][:100]])
