"""Laws of captured functions: a replay gives what a call gives, whatever came before it."""

import threading

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batch_steering import BatchSteering
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.captured import Captured
from salcompress.codecs.salient.grouping import BUCKETS, at_most, bucket
from salcompress.data.scenes import make_scene
from salcompress.saliency.batched import DeviceSaliency
from salcompress.saliency.functions import SHIPPED_NETWORK

CPU = torch.device("cpu")


class Recorder:
    """Replays as a CUDA graph does, on any device: into the same buffers, with what they hold."""

    def __init__(self, function):
        self._function = function
        # as after a capture, the results mean nothing before the first replay
        self.results = tuple(torch.full_like(result, 77) for result in function())
        self.num_replays = 0
        RECORDED.append(self)

    def replay(self):
        self.num_replays += 1
        for result, now in zip(self.results, self._function(), strict=True):
            result.copy_(now)


RECORDED: list[Recorder] = []


@pytest.fixture(autouse=True)
def recorded():
    RECORDED.clear()
    return RECORDED


def doubled(captured, values):
    """What a captured function of one buffer says of values."""
    with captured(
        len(values),
        lambda: {"x": torch.empty(len(values))},
        lambda buffers: buffers["x"].copy_(torch.tensor(values)),
    ) as (result,):
        return result.tolist()


def double(key, buffers):
    return (2 * buffers["x"],)


def test_what_comes_again_is_replayed(recorded):
    captured = Captured(double, CPU, Recorder)
    for k in range(5):
        assert doubled(captured, [k, 1.0]) == [2 * k, 2.0]
    assert [graph.num_replays for graph in recorded] == [4]
    assert captured.num_graphs == 1 and captured.num_bytes == 8


def test_nothing_is_captured_on_cpus():
    captured = Captured(double, CPU)
    assert not captured.captures
    assert [doubled(captured, [k]) for k in (1.0, 2.0, 3.0)] == [[2], [4], [6]]
    assert captured.num_graphs == 0


def test_graphs_that_were_not_used_for_longest_are_dropped(recorded):
    captured = Captured(double, CPU, Recorder, most_graphs=2)
    for length in (1, 1, 2, 2, 1, 3, 3, 1, 2, 2):
        assert doubled(captured, [1.0] * length) == [2.0] * length
        assert captured.num_graphs <= 2
    # 2 was dropped for 3, and was captured again when it came again
    assert [len(graph.results[0]) for graph in recorded] == [1, 2, 3, 2]


def test_graphs_hold_no_more_memory_than_told(recorded):
    captured, kept = Captured(double, CPU, Recorder, most_bytes=100), []
    for length in (10, 10, 12, 12, 15, 15, 15, 30, 30, 30):
        assert doubled(captured, [1.0] * length) == [2.0] * length
        kept.append(captured.num_bytes)
    # 15 has no place beside the others, and 30 has none at all
    assert kept == [0, 40, 40, 88, 88, 0, 60, 60, 0, 0]


def test_a_capture_that_fails_is_said_once(capsys):
    def broken(function):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    captured = Captured(double, CPU, broken)
    assert [doubled(captured, [k]) for k in (1.0, 2.0, 3.0, 4.0)] == [[2], [4], [6], [8]]
    assert capsys.readouterr().out == (
        "batches run without CUDA graphs: capturing one failed: operation not permitted when "
        "stream is capturing\n"
    )


def test_what_there_is_no_memory_to_capture_runs_without_a_graph(capsys):
    def full_once(function):
        if not RECORDED:
            RECORDED.append(None)
            raise RuntimeError("capture was broken off") from torch.OutOfMemoryError("no memory")
        return Recorder(function)

    captured = Captured(double, CPU, full_once)
    for length in (1, 1, 1, 2, 2, 1):
        assert doubled(captured, [1.0] * length) == [2.0] * length
    assert captured.num_graphs == 1
    assert capsys.readouterr().out == (
        "batches of one kind run without CUDA graphs: capturing one failed: capture was broken "
        "off\n"
    )


def test_threads_take_turns():
    captured, wrong = Captured(double, CPU, Recorder), []

    def work(value):
        for _ in range(50):
            if doubled(captured, [value, -value]) != [2 * value, -2 * value]:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and captured.num_graphs == 1


def test_the_callers_inference_mode_leaves_buffers_that_others_fill():
    captured = Captured(double, CPU, Recorder)
    for k in range(3):
        with torch.inference_mode(k < 2):
            assert doubled(captured, [k]) == [2 * k]


@pytest.mark.parametrize("num_images", range(1, 17))
def test_a_bucket_holds_its_batch_and_is_a_third_too_large_at_most(num_images):
    assert bucket(num_images) in BUCKETS
    assert num_images <= bucket(num_images) <= 1.5 * num_images
    assert at_most([list(range(num_images))], 16) == [list(range(num_images))]


SIZES = [(70, 90), (128, 64), (65, 129), (128, 60), (100, 40), (1, 1), (90, 120)]


@pytest.fixture(scope="module")
def pictures():
    """uint8 (3, H, W)."""
    return [scene(31, k, *size) for k, size in enumerate(SIZES)]


def scene(seed, k, height, width):
    image = make_scene(seed, k, max(height, 64), max(width, 64)).image[:height, :width]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


BATCHES = ([0, 1, 2], [3, 4, 6], [2, 1, 0], [5], [5], [1, 3], [6], [0, 1, 2], [4, 6, 0], [3])
"""Batches of changing sizes and images, by number; three fill a bucket, and no two are alike."""


@pytest.mark.parametrize("mixed_sizes", [True, False])
@pytest.mark.parametrize("real_streams", [True, False])
@pytest.mark.parametrize("saliency", ["uniform", "network"])
def test_replayed_batches_are_those_of_each_batch_by_itself(
    pictures, saliency, real_streams, mixed_sizes, recorded
):
    """Digit by digit: bits, streams and pixels."""
    codec = SalientCodec(0.4, device="cpu", saliency=saliency)
    options = {"real_streams": real_streams, "mixed_sizes": mixed_sizes}
    replayed, expected = (BatchedCodec(codec, **options) for _ in range(2))
    replayed.captured = Captured(replayed._through_networks, CPU, Recorder)
    assert_replayed_is_eager(replayed, expected, pictures)
    assert recorded and sum(graph.num_replays for graph in recorded) > len(recorded)


@pytest.mark.slow
def test_replayed_batches_of_the_network_on_the_device(recorded):
    """The way that CUDA takes. An image that is too small for it is steered by the host."""
    codec = SalientCodec(0.4, device="cpu")
    replayed, expected = (BatchedCodec(codec, mixed_sizes=True) for _ in range(2))
    for batched in (replayed, expected):
        network = DeviceSaliency(SHIPPED_NETWORK.load("cpu"))
        batched.steering = BatchSteering(codec, CPU, network)
    replayed.captured = Captured(replayed._through_networks, CPU, Recorder)
    sizes = [(260, 300), (300, 260), (257, 310), (70, 90)]
    images = [scene(7, k, *size) for k, size in enumerate(sizes)]
    batches = ([0, 1], [1, 2], [2, 0], [3, 0], [1, 3])
    assert_replayed_is_eager(replayed, expected, images, batches)
    assert recorded


def assert_replayed_is_eager(replayed, expected, images, batches=BATCHES):
    started = []
    for k, numbers in enumerate(batches):
        batch = [images[number] for number in numbers], None, [k / 10 + 0.05] * len(numbers)
        started.append((replayed.start(*batch), expected.start(*batch)))
    # results stand though later batches went through the same buffers
    for ours, theirs in started:
        assert ours.num_bits() == theirs.num_bits()
        assert ours.streams() == theirs.streams()
        assert all(map(torch.equal, ours.images, theirs.images))


@pytest.mark.gpu
@pytest.mark.parametrize("mixed_precision", [False, True])
@pytest.mark.parametrize("saliency", ["uniform", "network", "classical"])
def test_graphs_give_what_the_kernels_give_one_by_one(saliency, mixed_precision):
    """Symbols, tables, levels, bits and pixels, digit by digit: the same kernels run."""
    sizes = [(300, 420), (420, 300), (333, 257), (448, 512), (70, 90), (320, 448)]
    images = [scene(7, k, *size).cuda() for k, size in enumerate(sizes)]
    codec = SalientCodec(0.4, device="cuda", saliency=saliency)
    for real_streams in (True, False):
        options = {"real_streams": real_streams, "mixed_precision": mixed_precision}
        replayed, expected = (BatchedCodec(codec, **options) for _ in range(2))
        # buckets fill batches up in both
        expected.captured._capture = lambda key, buffers: None
        batches = (
            [0, 1, 2],
            [2, 0, 1],
            [1, 2, 0],
            [3],
            [3],
            [5, 4],
            [4, 5],
            [0, 4],
            [3],
            [2, 1, 0],
        )
        assert_replayed_is_eager(replayed, expected, images, batches)
        assert replayed.captured.captures and replayed.captured.num_graphs >= 3
        assert 0 < replayed.captured.num_bytes < replayed.captured._most_bytes


@pytest.mark.gpu
def test_replays_wait_for_nothing():
    images = [scene(7, k, 300, 420).cuda() for k in range(4)]
    batched = BatchedCodec(SalientCodec(0.4, device="cuda"))
    for _ in range(3):
        batched.start(images)
    assert batched.captured.num_graphs == 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = batched.start(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bits > 0 for bits in batch.num_bits())


@pytest.mark.gpu
def test_streams_and_threads_take_turns_on_a_gpu():
    images = [scene(7, k, 300, 420).cuda() for k in range(8)]
    batched = BatchedCodec(SalientCodec(0.4, device="cuda"))
    expected = [batched.start([image]).num_bits() for image in images]
    torch.cuda.synchronize()
    wrong = []

    def work(start):
        with torch.cuda.stream(torch.cuda.Stream()):
            for k in range(start, start + 16):
                if batched.start([images[k % 8]]).num_bits() != expected[k % 8]:
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and batched.captured.num_graphs == 1
