"""Full precision is of the thread that asks for it: what a process allows is neither changed nor
followed.
"""

import contextlib
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from salcompress.codecs.salient import SalientCodec
from salcompress.metrics.psnr_ssim import psnr
from salcompress.models import full_precision as module
from salcompress.models.full_precision import Conv2d, convolve, full_precision

NEW_SWITCHES = hasattr(torch.backends, "fp32_precision")


def switches():
    """All that torch has, as a thread sees it; ``cudnn.flags`` raises where they contradict each
    other.
    """
    with torch.backends.cudnn.flags(enabled=True):
        pass
    found = [torch.get_float32_matmul_precision(), torch.backends.cudnn.enabled]
    if NEW_SWITCHES:
        backends = torch.backends
        found += [
            owner.fp32_precision
            for owner in (
                backends,
                backends.cuda.matmul,
                backends.cudnn,
                backends.cudnn.conv,
                backends.mkldnn,
                backends.mkldnn.conv,
                backends.mkldnn.matmul,
            )
        ]
    return found


@contextlib.contextmanager
def process_allows(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_another_thread(function):
    found = []

    def run():
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_while_one_thread_codes_another_sees_the_switches_that_it_set(picture, precision):
    seen = []

    def loss(reconstruction):  # is called in the midst of coding
        seen.append(in_another_thread(switches))
        return reconstruction.square().mean()

    codec = SalientCodec(0.3, saliency="uniform", device="cpu")
    with process_allows(precision):
        outside = switches()
        codec.refine(np.ascontiguousarray(picture[:64, :64]), loss, effort=1)
        assert switches() == outside
    assert seen and all(found == outside for found in seen), seen


def test_it_is_asked_for_by_a_thread_for_itself():
    assert not module._this_thread.wants_full_precision
    with full_precision():
        with full_precision():
            pass
        assert module._this_thread.wants_full_precision
        assert in_another_thread(lambda: module._this_thread.wants_full_precision) is False
    assert not module._this_thread.wants_full_precision


@pytest.mark.parametrize("precision", ["highest", "medium", "high"])
def test_factors_keep_their_bits_whatever_the_process_allows(precision):
    """Exactly: integers whose sums fit float32. The gradient is that of torch's convolution."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randint(-511, 512, size, generator=generator).float()
        for size in ((2, 16, 9, 7), (8, 4, 3, 3))
    )
    bias = torch.arange(8).float()
    expected = F.conv2d(x.double(), weight.double(), bias.double(), (2, 1), 1, 1, 4)
    layer = Conv2d(16, 8, 3, stride=(2, 1), padding=1, groups=4)
    layer.load_state_dict({"weight": weight, "bias": bias})
    with process_allows(precision), full_precision():
        assert module._process_allows_rounding() == (precision != "highest")
        assert torch.equal(layer(x).double(), expected.detach())
        ours = convolve(x, weight.requires_grad_(), bias, (2, 1), (1, 1), groups=4)
        assert torch.equal(ours.double(), expected)
        (gradient,) = torch.autograd.grad(ours.sum(), weight)
    theirs = F.conv2d(x, weight, bias, (2, 1), 1, 1, 4)
    assert torch.equal(gradient, torch.autograd.grad(theirs.sum(), weight)[0])


def test_autocast_goes_before():
    with full_precision(), torch.autocast("cpu", torch.bfloat16):
        assert Conv2d(3, 4, 1)(torch.zeros(1, 3, 2, 2)).dtype == torch.bfloat16


def test_streams_do_not_depend_on_what_the_process_allows(codec, picture, stream):
    """But for symbols that lie between two values: the analysis is float, and float64 then."""
    with process_allows("medium"):
        other = codec.encode(picture)
        assert abs(len(other) - len(stream)) <= 8
        again = codec.decode(stream)
    usual = codec.decode(stream)
    assert np.abs(again.astype(int) - usual).max() <= 1  # the synthesis is float
    similarity = psnr(usual, codec.decode(other))
    assert similarity is None or similarity > 50  # None where nothing differs


@pytest.mark.gpu
def test_no_tf32_on_cuda_though_cudnn_may():
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randint(0, 4096, size, generator=generator).float().cuda()
        for size in ((2, 64, 16, 16), (64, 64, 1, 1))
    )
    weight /= 4096**2
    expected = F.conv2d(x.double(), weight.double())
    outside = switches()
    with full_precision():
        ours = convolve(x, weight, None)
        assert in_another_thread(switches) == outside
    assert (ours.double() - expected).abs().max() < 1e-5 * expected.abs().max()
