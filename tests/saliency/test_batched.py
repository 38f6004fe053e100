"""Laws of the saliency network in batches: each image's saliency is as if it had been alone."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from salcompress.bitstream.format import cells_of
from salcompress.codecs.salient.encoder import as_tensor, padded
from salcompress.data.scenes import make_scene
from salcompress.models.quality_map import allocate_levels, block_means
from salcompress.saliency.batched import DeviceSaliency, _shrink, area_matrices
from salcompress.saliency.functions import SHIPPED_NETWORK, run_network, seen_size
from salcompress.saliency.seen_batch import SeenBatch, seen_lines

SEEN = [(320, 240), (213, 320), (320, 320), (33, 320), (320, 32), (97, 131)]


@pytest.fixture(scope="module")
def model():
    return SHIPPED_NETWORK.load("cpu")


@pytest.fixture(scope="module")
def pictures():
    """Pictures of the sizes of ``SEEN`` at the corner of a batch of noise, and alone."""
    batch = torch.rand(len(SEEN), 3, 320, 320, generator=torch.Generator().manual_seed(3))
    for k, (height, width) in enumerate(SEEN):
        scene = make_scene(5, k, max(height, 64), max(width, 64)).image[:height, :width]
        batch[k, :, :height, :width] = torch.from_numpy(scene.copy()).permute(2, 0, 1) / 255
    alone = [batch[k : k + 1, :, :h, :w].contiguous() for k, (h, w) in enumerate(SEEN)]
    return batch, alone


def test_pictures_of_all_sizes_in_one_batch_are_each_as_if_alone(model, pictures):
    """Up to float rounding: sums are taken in another order, and resizes count places otherwise.

    Here that makes 6e-6 at most, after some thirty layers. Ten times as much is still a thousandth
    of a level.
    """
    together, alone = pictures
    saliency = model.saliency_of_batch(
        together, SeenBatch(seen_lines(SEEN, (320, 320)), (320, 320))
    )
    for ours, picture, (height, width) in zip(saliency, alone, SEEN):
        assert (ours[:, :height, :width] - model.saliency(picture)[0]).abs().max() < 6e-5


SIZES = [(480, 640), (427, 640), (640, 512), (333, 500), (1024, 768)]


def test_batches_are_resized_as_opencv_does():
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    seen = [seen_size(*size) for size in SIZES]
    batch = padded([as_tensor(image) for image in images], (16, 12))
    lengths = torch.tensor([[*size, *small] for size, small in zip(SIZES, seen)])
    shrunk = _shrink(batch, lengths, (320, 320)).mul(255).round()
    for ours, image, (height, width) in zip(shrunk, images, seen):
        expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        difference = np.abs(ours[:, :height, :width].permute(1, 2, 0).numpy() - expected)
        # a sum of floats in another order, near a half
        assert difference.max() <= 1 and (difference > 0).mean() < 3e-4


def test_parts_of_a_line_are_weighted_by_what_they_hold_of_it():
    matrices = area_matrices(torch.tensor([5, 4]), torch.tensor([2, 2]), 5, 2)
    assert torch.allclose(
        matrices,
        torch.tensor(
            [
                [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]],
                [[0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0]],
            ]
        ),
    )


def test_the_saliency_of_devices_is_the_networks(model):
    """The way that CUDA takes, here on the CPU."""
    sizes = [(330, 370), (370, 330), (640, 512), (321, 480), (640, 427)]
    images = [make_scene(7, k, *size).image for k, size in enumerate(sizes)]
    batch = padded([as_tensor(image) for image in images], (10, 8))
    cells = DeviceSaliency(model)(batch, sizes).numpy()
    levels = []
    for image, ours, size in zip(images, cells, sizes):
        rows, columns = cells_of(*size)
        expected = block_means(run_network(model, image), rows, columns, 64)
        inside = ours[:rows, :columns]
        # of a picture of which few values are one grey level off
        assert np.abs(inside - expected).max() < 2e-3
        # nothing is salient beyond the image; sums of arrays of other shapes may round otherwise
        assert ours.sum() == pytest.approx(inside.sum(), rel=1e-12)
        levels.append([allocate_levels(0.4, saliency, 24) for saliency in (inside, expected)])
    # 24 levels times 2e-3 is a twentieth of a level: so many of them may lie so near to a tie
    assert all(np.abs(ours.astype(int) - theirs).max() <= 1 for ours, theirs in levels)
    assert np.mean(np.concatenate([(a != b).ravel() for a, b in levels])) < 0.05


def test_what_the_network_would_see_enlarged_does_not_fit():
    assert not DeviceSaliency.fits(100, 310) and not DeviceSaliency.fits(20, 4000)
    assert DeviceSaliency.fits(320, 320)


class CountedOperations(TorchDispatchMode):
    """How many operations of torch ran within."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_more_sizes_take_no_more_kernels(model):
    counts = []
    for sizes in ([(330, 370)] * 4, [(330, 370), (370, 330), (321, 384), (384, 384)]):
        images = [np.zeros((*size, 3), np.uint8) for size in sizes]
        batch = padded([as_tensor(image) for image in images], (6, 6))
        with CountedOperations() as operations:
            DeviceSaliency(model)(batch, sizes)
        counts.append(operations.count)
    assert counts[0] == counts[1]


def test_default_types_of_a_training_loop_do_not_reach_it(model):
    size = 370, 330
    batch = padded([as_tensor(make_scene(7, 1, *size).image)], (6, 6))
    expected = DeviceSaliency(model)(batch, [size])
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(DeviceSaliency(model)(batch, [size]), expected)
    finally:
        torch.set_default_dtype(torch.float32)
