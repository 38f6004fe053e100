"""The prior is exact: the same integers however it is computed."""
import itertools

import pytest
import torch

from salcompress.errors import DataError
from salcompress.models.dyadic import HIDDEN_MAX, DyadicConv, full_precision
from salcompress.models.prior import Prior, put_group, take_group


def random_prior(seed=0, gain=1.5) -> Prior:
    """Weights large enough that tables and means vary, projected onto their bounds."""
    torch.manual_seed(seed)
    prior = Prior(16, 8, 32)
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            parameter.normal_(0, 1.0 if "table" in name or "bias" in name else gain / parameter[0].numel() ** 0.5)
    prior.project()
    prior.freeze()
    return prior


def record(prior, levels, seed=0):
    """Tables and means of all groups, each decoded value drawn from the seed."""
    seen = []

    def code_group(group):
        seen.append((group.table.clone(), group.mean.clone()))
        generator = torch.Generator().manual_seed(seed + len(seen))
        symbols = torch.randint(-30, 31, group.table[:1].shape, generator=generator)  # the same for each image of a batch
        return symbols + group.mean

    with torch.no_grad():
        prior.traverse(levels, code_group)
    return seen


def test_groups_cover_every_value_once():
    for level, count, channels in ((1, 4, 8), (2, 2, 6)):
        latent = torch.arange(channels * 6 * 4).reshape(1, channels, 6, 4).float()
        groups = [take_group(latent, level, index) for index in range(count)]
        assert sorted(torch.cat([g.flatten() for g in groups]).tolist()) == latent.flatten().tolist()
        rebuilt = torch.zeros_like(latent)
        for index, group in enumerate(groups):
            rebuilt = put_group(rebuilt, level, index, group)
        assert torch.equal(rebuilt, latent)


@pytest.mark.parametrize("threads, carrier, channels_last, onednn", itertools.product(
    (1, 2), (torch.float32, torch.float64), (False, True), (False, True)))
def test_exactness_matrix(threads, carrier, channels_last, onednn):
    expected = random_prior().known_answer("cpu")
    prior, before = random_prior(), torch.get_num_threads()
    if channels_last:
        prior.to(memory_format=torch.channels_last)
    prior.freeze(carrier)
    torch.set_num_threads(threads)
    try:
        with torch.backends.mkldnn.flags(enabled=onednn):
            assert prior.known_answer("cpu") == expected
    finally:
        torch.set_num_threads(before)


def test_batch_is_as_alone():
    prior = random_prior()
    levels = torch.randint(0, 64, (4, 1, 3, 2), generator=torch.Generator().manual_seed(1))
    together = record(prior, levels)
    for k in range(4):
        for (table, mean), (table_alone, mean_alone) in zip(together, record(prior, levels[k : k + 1])):
            assert torch.equal(table[k : k + 1], table_alone) and torch.equal(mean[k : k + 1], mean_alone)


def test_outputs_are_integral_and_varied():
    for table, mean in record(random_prior(), torch.full((1, 1, 2, 2), 20)):
        assert torch.equal(table, table.round()) and 0 <= table.min() and table.max() <= 63
        assert torch.equal(mean * 16, (mean * 16).round())
        assert table.unique().numel() > 4


def test_later_groups_do_not_reach_back_and_earlier_ones_reach_forward():
    prior, levels = random_prior(), torch.full((1, 1, 2, 3), 20)
    plain = record(prior, levels)
    for changed in range(6):
        seen = []

        def code_group(group):
            seen.append(group.table.clone())
            symbols = torch.randint(-30, 31, group.table.shape, generator=torch.Generator().manual_seed(len(seen)))
            return symbols + group.mean + (5 if len(seen) == changed + 1 else 0)

        with torch.no_grad():
            prior.traverse(levels, code_group)
        same = [torch.equal(ours, theirs) for ours, (theirs, _) in zip(seen, plain)]
        assert all(same[: changed + 1])
        if changed < 5:
            assert not same[changed + 1]


def test_levels_matter():
    prior = random_prior()
    tables = [torch.cat([t.flatten() for t, _ in record(prior, torch.full((1, 1, 2, 2), level))]) for level in (5, 50)]
    assert not torch.equal(*tables)


def test_a_broken_bound_is_refused_and_projection_mends_it():
    conv = DyadicConv(512, 4, HIDDEN_MAX)
    with torch.no_grad():
        conv.weight.fill_(1.0)  # one-signed: random weights would not show it
    with pytest.raises(DataError, match="out of bounds"):
        conv.freeze(torch.float32)
    conv.freeze(torch.float64)
    conv.project()
    conv.freeze(torch.float32)
    assert conv.largest_sum().max() < 2**24


def test_weights_that_are_no_numbers_are_refused():
    conv = DyadicConv(4, 4, HIDDEN_MAX)
    with torch.no_grad():
        conv.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match="out of bounds"):
        conv.freeze(torch.float32)


def test_training_computes_what_coding_computes():
    prior, levels = random_prior(), torch.full((1, 1, 2, 2), 33)
    coding = record(prior, levels)
    prior.train()
    for (table, mean), (table_trained, mean_trained) in zip(coding, record(prior, levels)):
        assert torch.equal(table, table_trained) and torch.equal(mean, mean_trained)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="needs the switches of torch 2.9 or newer")
def test_full_precision_holds_until_the_last_thread_leaves():
    """Threads that overlap: the first to leave must not open the door for the other, and the last restores what was."""
    before = torch.get_float32_matmul_precision()
    first, second = full_precision(), full_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        outside = torch.backends.mkldnn.matmul.fp32_precision
        assert outside != "ieee"
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        second.__exit__(None, None, None)
        assert torch.backends.mkldnn.matmul.fp32_precision == outside
    finally:
        torch.set_float32_matmul_precision(before)
