"""The codec as a part of a larger network: what it gives does not depend on what it is given
beside.
"""

import pickle

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.detectors.feature_distance import feature_distance
from salcompress.models.compression_model import CompressionModel, ModelConfig, save_model
from salcompress.training.differentiable_codec import DifferentiableCodec


def half_salient(image):
    return np.linspace(0, 1, image.shape[1], dtype=np.float32)[None].repeat(image.shape[0], 0)


def test_losses_of_an_image_do_not_depend_on_its_neighbours(picture):
    def distortion(*sizes):
        images = [
            torch.from_numpy(np.ascontiguousarray(picture[:h, :w].transpose(2, 0, 1)))
            for h, w in sizes
        ]
        codec = DifferentiableCodec(
            SalientCodec(saliency=half_salient, device="cpu"),
            saliency_weight=4.0,
            mixed_precision=False,
        )
        return codec(images, [0.3] * len(images)).terms.distortion[0].item()

    assert distortion((65, 65)) == pytest.approx(
        distortion((65, 65), (128, 128), (100, 70)), rel=1e-3
    )


@pytest.fixture
def tiny(tmp_path):
    """In training, from weights of a small network."""
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(save_model(CompressionModel(ModelConfig(16, 16, 16, 8, 16))))
    return DifferentiableCodec(SalientCodec(saliency="uniform", weights=path, device="cpu"))


def test_the_deployed_codec_is_that_of_the_present_weights(tiny, picture):
    """Whatever way they were changed: ``.data`` leaves no trace in a tensor's version."""
    first = tiny.deployed()
    assert tiny.deployed() is first
    weight = tiny.networks.synthesis.head[0].weight
    version = weight._version
    weight.data.mul_(0.5)
    assert weight._version == version
    second = tiny.deployed()
    assert second.model_fingerprint != first.model_fingerprint
    image = np.ascontiguousarray(picture[:64, :64])
    assert second.decode(second.encode(image)).shape == image.shape


def test_a_codec_that_was_tested_can_be_saved_and_loaded(tiny, tmp_path):
    before = tiny.deployed().model_fingerprint
    torch.save(tiny, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert again.deployed().model_fingerprint == before
    assert again.networks.trained_with == tiny.networks.trained_with


def test_a_state_of_an_earlier_version_is_one_of_all_levels(tiny):
    state = tiny.state_dict()
    del state["cells_of_level"]
    tiny.load_state_dict({}, strict=False)
    assert not tiny.cells_of_level.any()
    tiny.load_state_dict(state)
    assert tiny.cells_of_level.min() == tiny.cells_of_level.max() > 0


def test_what_helps_the_codec_follows_it_to_a_device():
    codec = DifferentiableCodec(SalientCodec(device="cpu"), perceptual_weight=1.0)
    assert codec._on_device().steering.saliency.device == "cpu"
    codec.to("meta")
    assert codec.device.type == "meta" and codec._on_device().steering.saliency.device == "meta"


def test_each_channel_of_the_features_counts_for_itself():
    wanted = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [1.0, 0.1, 0.0]
    ).view(1, 3, 1, 1)
    assert feature_distance({"p2": wanted}, {"p2": wanted}) == 0
    for channel in (0, 1):  # all of a channel lost: as much for a weak one as for a strong one
        lost = wanted.clone()
        lost[:, channel] = 0
        assert feature_distance({"p2": lost}, {"p2": wanted}) == pytest.approx(
            1 / 3, rel=0.05
        )  # less what quiet channels are given


def test_bfloat16_is_left_alone_on_cpus_that_are_slower_in_it(monkeypatch, picture):
    image = torch.from_numpy(picture[:64, :64]).permute(2, 0, 1).contiguous()
    start = SalientCodec(0.3, saliency="uniform", device="cpu")
    exact, mixed = (DifferentiableCodec(start, mixed_precision=mixed) for mixed in (False, True))
    expected = exact([image], [0.3]).pictures[0]
    for quick in (True, False):
        monkeypatch.setattr(
            "salcompress.training.differentiable_codec.has_quick_bfloat16",
            lambda quick=quick: quick,
        )
        assert torch.equal(mixed([image], [0.3]).pictures[0], expected) != quick


def test_gains_that_rise_at_low_levels_take_higher_levels_with_them(picture):
    """Else levels that training did not draw would no longer fit those that it did."""
    image = np.ascontiguousarray(picture[:64, :64])
    seen = [torch.from_numpy(image.transpose(2, 0, 1).copy())]
    codec = DifferentiableCodec(SalientCodec(saliency="uniform", device="cpu"))
    optimizer = torch.optim.Adam(codec.networks.latent_gain.parameters(), lr=0.5)
    before = codec.deployed()
    for step in range(8):
        optimizer.zero_grad()
        (-codec(seen, [0.05 * (step % 4)]).terms.rate.mean()).backward()  # more bits
        optimizer.step()
    with torch.no_grad():
        codec(seen, [1.0])
    assert codec.cells_of_level.nonzero().flatten().tolist() == [0, 3, 6, 9]
    codec = pickle.loads(pickle.dumps(codec))

    after = codec.deployed()
    sizes = [
        [len(deployed.with_quality(q).encode(image)) for q in (0, 0.1, 0.3, 0.6, 1)]
        for deployed in (before, after)
    ]
    rise = np.divide(sizes[1], sizes[0])
    assert rise[:2].min() > 2  # of what was trained
    assert rise[2:].min() > 1.5
