"""Laws of the encoder that searches: a search changes what a stream costs, not what it is."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

from salcompress.codecs import load_codec, with_cache
from salcompress.codecs.salient import SalientCodec, refine, search_loss
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.search_window import Search
from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.metrics.psnr_ssim import psnr
from salcompress.models.compression_model import TrainedWith
from tests.codecs.salient.searched import loss_in_bpp, searching


@pytest.mark.parametrize("q", [0.1, 0.7])
def test_a_search_lowers_the_loss_and_the_stream_decodes(textured, q):
    plain, searched = searching(0, q), searching(20, q)
    before, after = plain.encode(textured), searched.encode(textured)
    assert searched.encode(textured) == after
    found = searched.reconstruct(textured)
    assert (
        abs(found.num_bits - 8 * len(after)) <= 64 and searched.num_bits(textured) == found.num_bits
    )
    # a codec that does not search decodes it: symbol by symbol, by the checksums
    # the synthesis is float
    assert np.abs(plain.decode(after).astype(int) - found.image).max() <= 1
    # a hundred and fifty steps gain three times as much; less than 1 % could be rounding's luck
    assert loss_in_bpp(plain, textured, after) < 0.99 * loss_in_bpp(plain, textured, before)


def test_bits_and_quality_rise_with_q(textured):
    points = []
    for q in (0.0, 0.3, 0.6, 1.0):
        stream = searching(8, q).encode(textured)
        points.append((len(stream), psnr(textured, searching(0).decode(stream))))
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points)), points


@pytest.mark.parametrize("effort", [1, 2])
def test_a_search_too_short_to_help_does_no_harm(textured, effort):
    plain = searching(0)
    # judged by likelihoods; a stream of so few symbols ends on a word of 32 bits, on either side of
    # it
    bound = loss_in_bpp(plain, textured, plain.encode(textured)) + 32 / textured[:, :, 0].size
    assert loss_in_bpp(plain, textured, searching(effort).encode(textured)) <= bound


def test_streams_are_those_of_each_image_alone(textured):
    images = [
        textured,
        np.ascontiguousarray(textured[:50, :70]),
        np.ascontiguousarray(textured[::-1]),
    ]
    codec = searching(4, saliency="classical")
    alone = [codec.encode(image) for image in images]
    assert codec.encode_batch(images) == alone
    tensors = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
    for mixed_sizes in (False, True):
        batch = BatchedCodec(
            codec, real_streams=True, mixed_sizes=mixed_sizes, cells_at_once=100
        ).start(tensors)
        assert batch.streams() == alone
    for image, stream, num_bits in zip(
        images, alone, BatchedCodec(codec).start(tensors).num_bits()
    ):
        assert abs(num_bits - 8 * len(stream)) <= 64 and codec.decode(stream).shape == image.shape


def test_images_in_one_padded_batch_do_not_touch_each_other(codec, textured, monkeypatch):
    """The way that CUDA takes, here on the CPU, where rounding differs between batches: equal after
    few steps, almost.
    """
    from salcompress.codecs.salient.networks import coding
    from salcompress.models.batch_extent import Extent

    monkeypatch.setattr(refine, "has_quick_bfloat16", lambda: False)
    # the metric's network sees the padding, and that is the batch's
    monkeypatch.setattr(search_loss, "PERCEPTUAL_SHARE", 0.0)
    sizes = [(96, 80), (50, 80)]
    batch = torch.zeros(2, 3, 128, 128, dtype=torch.uint8)
    image = torch.from_numpy(textured).permute(2, 0, 1)
    batch[0, :, :96, :80] = image
    batch[1, :, :50, :80] = image[:, :50]
    model = codec.model
    extent = Extent(torch.tensor([2, 1]), torch.tensor([2, 2]))
    levels = torch.full((2, 1, 2, 2), 25)
    with coding(model):
        pixels = batch.float() / 255
        latents = model.analyse(pixels, levels, extent)
        together = refine.refine(model, batch, levels, *latents, Search(2, sizes), extent)
        alone = refine.refine(
            model,
            batch[1:, :, :64],
            levels[1:, :, :1],
            latents[0][1:, :, :4],
            latents[1][1:],
            Search(2, sizes[1:]),
        )
    # a step moves a value by 0.02 at most; gradients near 0 change their sign by rounding
    moved = (together[0][1:, :, :4] - alone[0]).abs()
    assert moved.max() < 0.1 and (moved > 1e-3).float().mean() < 0.02


def test_salient_errors_weigh_more(textured, monkeypatch):
    """At one level everywhere, so that weights alone differ."""
    left = np.zeros(textured.shape[:2], np.float32)
    left[:, :40] = 1
    steered, mirrored = (searching(20, saliency=s, saliency_strength=0) for s in (left, 1 - left))
    # a large weight, so that few steps show what many do; saliency does not weigh the metric
    monkeypatch.setattr(steered.model, "trained_with", TrainedWith(20.0, 0.0))
    errors = [
        np.square(c.reconstruct(textured).image[:, :40].astype(float) - textured[:, :40]).mean()
        for c in (steered, mirrored)
    ]
    assert errors[0] < 0.98 * errors[1]  # 20 steps give 4 %


@pytest.mark.parametrize("effort", [-1, 1.5, "1.5", "many", True, None, float("nan"), 10_001, "-3"])
def test_wrong_efforts_are_refused(effort):
    with pytest.raises(
        SettingError, match=r"effort \(steps of .*\) must be an integer from 0 to 10000, got"
    ):
        searching(effort)
    with pytest.raises(SettingError, match="must be an integer from 0 to 10000"):
        searching(0).with_effort(effort)


def test_networks_are_left_as_they_were(textured):
    codec = searching(2)
    model = codec.model
    before, needs = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    codec.encode(textured)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == needs and not model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_a_callers_context_does_not_reach_the_search(textured, context):
    codec = searching(2)
    expected = codec.encode(textured)
    with context():
        assert codec.encode(textured) == expected
        assert codec.refine(textured, loss=lambda x: x.square().mean()) != b""
        assert not torch.is_grad_enabled() or context not in (torch.no_grad, torch.inference_mode)


def test_networks_that_are_first_used_in_inference_mode_can_be_searched(textured, tmp_path):
    from salcompress.codecs.salient import WEIGHTS

    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(WEIGHTS.read_bytes())
    with torch.inference_mode():
        codec = searching(1, weights=weights)
        codec.encode(textured)
    assert codec.decode(codec.encode(textured)).shape == textured.shape


def test_by_specification_copied_pickled_and_cached(textured, tmp_path):
    plain, codec = (
        load_codec("salient:q=0.3,saliency=uniform,device=cpu"),
        load_codec("salient:q=0.3,saliency=uniform,effort=3,device=cpu"),
    )
    assert (
        plain.setting == "q=0.3,saliency=uniform"
        and codec.setting == "q=0.3,saliency=uniform,effort=3"
    )
    assert (
        plain.fingerprint
        == load_codec("salient:q=0.3,saliency=uniform,effort=0,device=cpu").fingerprint
        != codec.fingerprint
    )
    assert load_codec(codec.label).fingerprint == codec.fingerprint
    others = [
        pickle.loads(pickle.dumps(codec)),
        copy.copy(codec),
        codec.with_quality(0.3),
        codec.with_weights(codec.weights, "cpu"),
    ]
    assert [other.effort for other in others] == [3] * 4 and {
        other.fingerprint for other in others
    } == {codec.fingerprint}
    cached = [with_cache(c, tmp_path) for c in (plain, codec)]
    streams = [c.encode(textured) for c in cached]
    assert [c.misses for c in cached] == [1, 1] and streams[1] == codec.encode(textured)
    assert "search" in codec.time_parts(textured) and "search" not in plain.time_parts(textured)


@pytest.mark.gpu
@pytest.mark.parametrize("saliency", ["uniform", "network"])
def test_batches_on_the_gpu(saliency):
    """Streams decode on a CPU, the rate is theirs, and the search gains as much there."""
    here, there = (
        SalientCodec(0.4, saliency=saliency, device=device, effort=30) for device in ("cpu", "cuda")
    )
    images = [make_scene(7, k, 90 + 40 * k, 240 - 30 * k).image for k in range(4)]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous().cuda() for image in images]
    batch = BatchedCodec(there, real_streams=True).start(tensors)
    counted = BatchedCodec(there).start(tensors).num_bits()
    for image, ours, stream, num_bits in zip(images, batch.images, batch.streams(), counted):
        assert (
            np.abs(ours.permute(1, 2, 0).cpu().numpy().astype(int) - here.decode(stream)).max() <= 1
        )
        # kernels of a GPU may round otherwise at each call
        assert num_bits == pytest.approx(8 * len(stream), rel=0.01, abs=64)
        before, after, cpu = (
            loss_in_bpp(here, image, s)
            for s in (here.with_effort(0).encode(image), stream, here.encode(image))
        )
        assert after < before and after == pytest.approx(cpu, rel=0.03)


def test_default_types_of_a_training_loop_do_not_reach_the_search(codec, textured):
    searching = codec.with_effort(2)
    expected = searching.encode(textured)
    torch.set_default_dtype(torch.float64)
    try:
        assert searching.encode(textured) == expected
    finally:
        torch.set_default_dtype(torch.float32)
