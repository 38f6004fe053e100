"""Laws of the batched codec: every image comes out as if it had been alone."""

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batch_steering import BatchSteering
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.grouping import by_shape, in_one_batch
from salcompress.data.scenes import make_scene
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.models.quality_map import allocate_levels, allocate_levels_of_batch
from salcompress.saliency.batched import DeviceSaliency
from salcompress.saliency.functions import SHIPPED_NETWORK

SIZES = [(70, 90), (128, 64), (1, 1), (65, 129), (128, 60), (100, 40), (90, 120), (1, 200)]


@pytest.fixture(scope="module")
def pictures():
    """Eight, of which some share a padded size; uint8 (H, W, 3)."""
    images = [
        make_scene(31, k, max(height, 64), max(width, 64)).image
        for k, (height, width) in enumerate(SIZES)
    ]
    return [
        np.ascontiguousarray(image[:height, :width])
        for image, (height, width) in zip(images, SIZES)
    ]


@pytest.fixture(scope="module")
def alone(codec, pictures):
    """The stream of each picture."""
    return [codec.encode(image) for image in pictures]


def tensors(images):
    return [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]


def assert_near(ours, theirs, most=1):
    """Pixels of a float synthesis: at most a grey level apart, in rare places."""
    difference = np.abs(ours.permute(1, 2, 0).cpu().numpy().astype(int) - theirs)
    assert difference.max() <= most and (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    "options", [{}, {"saliency": "uniform"}, {"q": 1.0, "saliency": "classical"}]
)
def test_counted_bits_and_pixels_are_those_of_each_image_alone(pictures, options):
    codec = SalientCodec(**{"q": 0.4, "device": "cpu"} | options)
    batch = BatchedCodec(codec, cells_at_once=100).start(tensors(pictures))
    for image, ours, num_bits in zip(pictures, batch.images, batch.num_bits(), strict=True):
        alone = codec.reconstruct(image)
        assert num_bits == alone.num_bits and abs(num_bits - 8 * len(codec.encode(image))) <= 64
        assert ours.dtype == torch.uint8 and ours.is_contiguous()
        assert_near(ours, alone.image)


@pytest.mark.parametrize("saliency", ["network", "uniform"])
def test_images_of_all_sizes_in_one_padded_batch_are_those_of_each_alone(pictures, saliency):
    codec = SalientCodec(0.4, device="cpu", saliency=saliency)
    qualities = [k / 10 for k in range(len(pictures))]
    streams = [codec.with_quality(q).encode(image) for q, image in zip(qualities, pictures)]
    real, counted = (
        BatchedCodec(codec, mixed_sizes=True, real_streams=real, cells_at_once=150).start(
            tensors(pictures), qualities=qualities
        )
        for real in (True, False)
    )
    assert real.streams() == streams  # so all symbols are
    assert all(
        abs(bits - 8 * len(stream)) <= 64
        for bits, stream in zip(counted.num_bits(), streams, strict=True)
    )
    assert counted.num_bits() == [
        codec.with_quality(q).reconstruct(image).num_bits for q, image in zip(qualities, pictures)
    ]
    for image, stream in zip(real.images, streams):
        assert_near(image, codec.decode(stream))


def test_a_padded_batch_has_no_more_cells_than_told():
    shapes = [(8, 10), (1, 40), (10, 8), (7, 10), (30, 2), (8, 10), (50, 50)]
    groups = in_one_batch(shapes, 400)
    assert sorted(k for group in groups for k in group) == list(range(len(shapes)))
    for group in groups:
        assert (
            len(group) == 1
            or len(group) * max(shapes[k][0] for k in group) * max(shapes[k][1] for k in group)
            <= 400
        )
    assert len(groups) < len(by_shape(shapes, 400))


@pytest.mark.parametrize("threads", [1, 2])
def test_streams_are_those_of_each_image_alone_by_any_threads_and_batch(
    codec, pictures, alone, threads
):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ones, eight = (
            BatchedCodec(codec, real_streams=True, cells_at_once=1),
            BatchedCodec(codec, real_streams=True, cells_at_once=100),
        )
        batches = [
            ones.start([image]) for image in tensors(pictures[: 8 // threads**2])
        ]  # two threads are slow where cores are busy
        batch = eight.start(tensors(pictures))
    finally:
        torch.set_num_threads(before)
    # so all symbols are
    assert (
        batch.streams() == alone and [one.streams()[0] for one in batches] == alone[: len(batches)]
    )
    assert batch.num_bits() == [8 * len(stream) for stream in alone]
    for stream, ours, one in zip(alone, batch.images, batches):
        assert_near(ours, codec.decode(stream))
        assert_near(one.images[0], codec.decode(stream))


def test_autocast_of_a_training_loop_does_not_reach_it(codec, pictures):
    expected = BatchedCodec(codec).start(tensors(pictures[:2]))
    with torch.autocast("cpu", torch.bfloat16):
        ours = BatchedCodec(codec).start(tensors(pictures[:2]))
    assert (
        all(map(torch.equal, ours.images, expected.images))
        and ours.num_bits() == expected.num_bits()
    )


def test_mixed_precision_moves_pixels_little_and_its_streams_decode(codec, pictures):
    batch = BatchedCodec(codec, mixed_precision=True, real_streams=True).start(
        tensors(pictures[:2])
    )
    for image, ours, stream in zip(pictures, batch.images, batch.streams()):
        difference = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - codec.decode(stream))
        # bfloat16 keeps 8 bits of a value near 1
        assert difference.mean() < 0.5 and difference.max() <= 6
        assert 8 * len(stream) == pytest.approx(8 * len(codec.encode(image)), rel=0.02, abs=64)


def test_refused_images_are_named(pictures):
    def half_a_map(image):
        return np.zeros((image.shape[0], image.shape[1] // 2), np.float32)

    # padded, 64 rows
    images, wide = (
        tensors(pictures[:2]),
        torch.zeros(3, 1, 2**20 + 1, dtype=torch.uint8),
    )
    with pytest.raises(SettingError, match="an image of 1048577x1, .* has more than"):
        BatchedCodec(SalientCodec(device="cpu")).start([*images, wide])
    with pytest.raises(DataError, match="wide.png: an image of 1048577x1"):
        BatchedCodec(SalientCodec(device="cpu")).start(
            [*images, wide], ["a.png", "b.png", "wide.png"]
        )
    codec = SalientCodec(
        device="cpu",
        saliency=lambda image: (
            half_a_map(image) if image.shape[0] == 128 else np.zeros(image.shape[:2], np.float32)
        ),
    )
    with pytest.raises(DataError, match=r"b.png: the saliency map is \(128, 32\)"):
        BatchedCodec(codec).start(images, ["a.png", "b.png"])
    for wrong in (images[0].float(), images[0][:1], images[0][:, :0], pictures[0]):
        with pytest.raises(SettingError, match=r"image must be a uint8 tensor \(3, H, W\)"):
            BatchedCodec(SalientCodec(device="cpu")).start([wrong])


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_said_with_sizes_and_a_cure(codec, pictures, monkeypatch, error):
    def full(*args):
        raise error

    monkeypatch.setattr("salcompress.codecs.salient.batched.analyse_padded", full)
    with pytest.raises(
        SettingError,
        match="not enough memory on cpu to compress images of 90x70, 64x128: take fewer images "
        "at a time",
    ):
        BatchedCodec(codec).start(tensors(pictures[:2]))


def levels_by_halving(quality, saliency, strength):
    """The law of allocation, written out for one image: the offset that makes the mean of the cut
    off levels the base level, to 40 bits.
    """
    low, high = -strength * saliency.max(), 63.0
    for _ in range(40):
        offset = (low + high) / 2
        below = np.clip(strength * saliency + offset, 0, 63).mean() < quality * 63
        low, high = (offset, high) if below else (low, offset)
    return np.rint(np.clip(strength * saliency + high, 0, 63))


def test_levels_of_batches_are_those_of_each_image():
    generator = np.random.default_rng(5)
    for quality in (0.0, 0.1, 0.5, 0.97, 1.0):
        for strength in (0.0, 7.3, 24.0, 64.0):
            saliency = generator.random((4, 3, 5)) ** 3
            saliency[0], saliency[1] = 0, saliency[1] > 0.3
            ours = allocate_levels_of_batch(
                torch.full((len(saliency),), quality, dtype=torch.float64),
                torch.from_numpy(saliency),
                strength,
            )
            for levels, one in zip(ours.numpy(), saliency):
                assert np.array_equal(levels, levels_by_halving(quality, one, strength))
                assert np.array_equal(levels, allocate_levels(quality, one, strength))


@pytest.mark.parametrize("quality", [0.0, 0.3, 1.0])
def test_levels_of_images_of_several_sizes_are_those_of_each_image(quality):
    generator = np.random.default_rng(6)
    shapes = [(3, 5), (1, 1), (4, 2), (4, 5)]
    saliency, inside = np.zeros((2, 4, 4, 5))
    for k, (rows, columns) in enumerate(shapes):
        saliency[k, :rows, :columns] = generator.random((rows, columns)) ** 3
        inside[k, :rows, :columns] = 1
    qualities = torch.full((4,), quality, dtype=torch.float64)
    batch = torch.from_numpy(saliency), 24.0, torch.from_numpy(inside)
    ours = allocate_levels_of_batch(qualities, *batch).numpy()
    for k, (rows, columns) in enumerate(shapes):
        alone = allocate_levels(quality, saliency[k, :rows, :columns], 24.0)
        assert np.array_equal(ours[k, :rows, :columns], alone)


@pytest.fixture
def batched_as_on_a_gpu(codec):
    """Real streams by the way that CUDA takes, here on the CPU."""
    batched = BatchedCodec(codec, real_streams=True, mixed_sizes=True, cells_at_once=1000)
    network = DeviceSaliency(SHIPPED_NETWORK.load("cpu"))
    batched.steering = BatchSteering(codec, batched.device, network)
    return batched


def test_one_padded_batch_with_the_network_on_the_device(codec, pictures, batched_as_on_a_gpu):
    """Levels may differ from each image's alone by one, in cells whose level is nearly a tie; the
    streams of such an image then differ, too. They decode, and say what came.
    """
    sizes = [(260, 300), (300, 260), (257, 480)]
    images = [*pictures, *(make_scene(7, k, *size).image for k, size in enumerate(sizes))]
    batch = batched_as_on_a_gpu.start(tensors(images))
    for image, ours, stream in zip(images, batch.images, batch.streams(), strict=True):
        assert_near(ours, codec.decode(stream))
        levels = codec.maps(image, stream).quality[::4, ::4] * 63
        difference = np.abs(np.round(levels) - codec.levels_of(image))
        # saliency differs by less than 2e-3 (tests/saliency/test_batched.py), which is a twentieth
        # of a level
        assert difference.max() <= 1 and (difference > 0).mean() < 0.1
    # what the network would see enlarged is steered by the host
    assert batch.streams()[: len(pictures)] == [codec.encode(image) for image in pictures]


def test_streams_of_all_sizes_are_decoded_on_the_device(codec, pictures, alone):
    decoded = BatchedCodec(codec, cells_at_once=6).decode(alone)
    for image, ours, stream in zip(pictures, decoded, alone, strict=True):
        assert ours.dtype == torch.uint8 and ours.shape == (3, *image.shape[:2])
        assert ours.is_contiguous()
        assert_near(ours, codec.decode(stream))
    assert BatchedCodec(codec).decode([]) == []


def test_a_damaged_stream_is_refused_by_its_name(codec, alone):
    damaged = alone[1][:-4]
    with pytest.raises(BitstreamError, match="holds .* of .* bytes of coded symbols"):
        BatchedCodec(codec).decode([alone[0], damaged])
    with pytest.raises(DataError, match=r"^b.salc: the stream holds"):
        BatchedCodec(codec).decode([alone[0], damaged], names=["a.salc", "b.salc"])


@pytest.mark.gpu
@pytest.mark.parametrize("saliency", ["network", "classical"])
def test_streams_cross_between_gpu_and_cpu(pictures, saliency):
    """What one writes the other decodes to the same symbols: the checksums say so."""
    here, there = (
        SalientCodec(0.4, saliency=saliency, device=device) for device in ("cpu", "cuda")
    )
    images = [
        *pictures,
        *(make_scene(7, k, 90 + k, 240 - k).image for k in range(100 - len(pictures))),
    ]
    batch = BatchedCodec(there, real_streams=True).start(
        [image.cuda() for image in tensors(images)]
    )
    for image, ours, stream in zip(images, batch.images, batch.streams()):
        assert_near(ours, here.decode(stream))
        assert there.decode(here.encode(image)).shape == image.shape
    for ours, decoded in zip(batch.images, BatchedCodec(there).decode(batch.streams())):
        assert decoded.is_cuda
        assert_near(decoded, ours.permute(1, 2, 0).cpu().numpy())
    counted = BatchedCodec(there).start([image.cuda() for image in tensors(images)]).num_bits()
    assert all(abs(bits - 8 * len(stream)) <= 64 for bits, stream in zip(counted, batch.streams()))


@pytest.mark.gpu
def test_the_gpus_batches_wait_for_nothing(pictures):
    batched = BatchedCodec(SalientCodec(0.4, device="cuda"))
    sizes = [(300, 420), (420, 300), (333, 257), (512, 512)]
    scenes = [make_scene(7, k, *size).image for k, size in enumerate(sizes)]
    images = [image.cuda() for image in tensors(scenes)]
    for _ in range(2):  # what is first used is loaded, and then captured
        batched.start(images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = batched.start(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bits > 0 for bits in batch.num_bits())
