"""The prior is exact: the same integers however it is computed."""

import itertools

import pytest
import torch

from salcompress.errors import DataError
from salcompress.models.batch_extent import Extent
from salcompress.models.groups import put_group, take_group
from salcompress.models.integer_layers import (
    HIDDEN_MAX,
    RESIDUAL_MAX,
    DyadicConv,
    project,
)
from salcompress.models.prior import Prior


def random_prior(seed=0, gain=1.5) -> Prior:
    """Weights large enough that tables and means vary, projected onto their bounds."""
    torch.manual_seed(seed)
    prior = Prior(16, 8, 32)
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            parameter.normal_(
                0, 1.0 if "table" in name or "bias" in name else gain / parameter[0].numel() ** 0.5
            )
    prior.project()
    prior.freeze()
    return prior


def record(prior, levels, seed=0):
    """Tables and means of all groups, each decoded value drawn from the seed."""
    seen = []

    def code_group(group):
        seen.append((group.table.clone(), group.mean.clone()))
        generator = torch.Generator().manual_seed(seed + len(seen))
        # the same for each image of a batch
        symbols = torch.randint(-30, 31, group.table[:1].shape, generator=generator)
        return symbols + group.mean

    with torch.no_grad():
        prior.traverse(levels, code_group)
    return seen


def test_groups_cover_every_value_once():
    for level, count, channels in ((1, 4, 8), (2, 2, 6)):
        latent = torch.arange(channels * 6 * 4).reshape(1, channels, 6, 4).float()
        groups = [take_group(latent, level, index) for index in range(count)]
        assert (
            sorted(torch.cat([g.flatten() for g in groups]).tolist()) == latent.flatten().tolist()
        )
        rebuilt = torch.zeros_like(latent)
        for index, group in enumerate(groups):
            rebuilt = put_group(rebuilt, level, index, group)
        assert torch.equal(rebuilt, latent)


@pytest.mark.parametrize(
    "threads, carrier, channels_last, onednn",
    itertools.product((1, 2), (torch.float32, torch.float64), (False, True), (False, True)),
)
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
        for (table, mean), (table_alone, mean_alone) in zip(
            together, record(prior, levels[k : k + 1])
        ):
            assert torch.equal(table[k : k + 1], table_alone) and torch.equal(
                mean[k : k + 1], mean_alone
            )


def test_outputs_are_integral_and_varied():
    for table, mean in record(random_prior(), torch.full((1, 1, 2, 2), 20)):
        assert torch.equal(table, table.round()) and table.min() >= 0 and table.max() <= 63
        assert torch.equal(mean * 16, (mean * 16).round())
        assert table.unique().numel() > 4


def test_later_groups_do_not_reach_back_and_earlier_ones_reach_forward():
    prior, levels = random_prior(), torch.full((1, 1, 2, 3), 20)
    plain = record(prior, levels)
    for changed in range(6):
        seen = []

        def code_group(group):
            seen.append(group.table.clone())
            symbols = torch.randint(
                -30, 31, group.table.shape, generator=torch.Generator().manual_seed(len(seen))
            )
            return symbols + group.mean + (5 if len(seen) == changed + 1 else 0)

        with torch.no_grad():
            prior.traverse(levels, code_group)
        same = [torch.equal(ours, theirs) for ours, (theirs, _) in zip(seen, plain)]
        assert all(same[: changed + 1])
        if changed < 5:
            assert not same[changed + 1]


def test_levels_matter():
    prior = random_prior()
    tables = [
        torch.cat([t.flatten() for t, _ in record(prior, torch.full((1, 1, 2, 2), level))])
        for level in (5, 50)
    ]
    assert not torch.equal(*tables)


def test_a_broken_bound_is_refused_and_projection_mends_it():
    conv = DyadicConv(512, 4, HIDDEN_MAX)
    with torch.no_grad():
        conv.weight.fill_(1.0)  # one-signed: random weights would not show it
    with pytest.raises(DataError, match="out of bounds"):
        conv.freeze(torch.float32)
    conv.freeze(torch.float64)
    project([conv])
    conv.freeze(torch.float32)
    assert conv.largest_sum().max() < 2**24


@pytest.mark.parametrize(
    "channels, weight, bias",
    itertools.product((4, 320, 1024), (0.05, 0.279, 1.0), (0.0, 1.0, 500.0, 2000.0)),
)
def test_projection_reaches_the_bound_in_one_step(channels, weight, bias):
    for largest in (HIDDEN_MAX, RESIDUAL_MAX):
        conv = DyadicConv(channels, 4, largest)
        with torch.no_grad():
            conv.weight.fill_(weight), conv.bias.fill_(bias)
        project([conv])
        conv.freeze(torch.float32)


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


def test_images_of_several_sizes_in_one_batch_get_what_each_gets_alone():
    """Exactly, whatever the padding holds: rows and columns odd and even, down to one cell."""
    prior, shapes = random_prior(), [(3, 4), (1, 1), (2, 5), (3, 3)]
    generator = torch.Generator().manual_seed(5)
    levels = [torch.randint(0, 64, (1, 1, *shape), generator=generator) for shape in shapes]
    rows, columns = (max(sides) for sides in zip(*shapes))
    extent = Extent(*(torch.tensor(sides) for sides in zip(*shapes)))
    together = extent.repeat_edges(
        torch.cat(
            [
                torch.nn.functional.pad(
                    found, (0, columns - found.shape[3], 0, rows - found.shape[2])
                )
                for found in levels
            ]
        ),
        1,
        rows,
        columns,
    )
    drawn = {
        (k, index): torch.randint(-30, 31, (16, 2 * rows, 2 * columns), generator=generator)
        for k in range(len(shapes))
        for index in range(6)
    }

    def values(group, images, index):
        """Of any batch, the symbols that images have at this place of the group."""
        channels, height, width = group.mean.shape[1:]
        return (
            torch.stack([drawn[k, index][:channels, :height, :width] for k in images]) + group.mean
        )

    def run(levels, images, extent=None):
        seen = []

        def code_group(group):
            seen.append(group)
            return values(group, images, len(seen) - 1)

        with torch.no_grad():
            return seen, prior.traverse(levels, code_group, extent)[0]

    groups, latent = run(together, range(len(shapes)), extent)
    for k, (height, width) in enumerate(shapes):
        alone, alone_latent = run(levels[k], [k])
        assert torch.equal(latent[k, :, : 4 * height, : 4 * width], alone_latent[0])
        assert not latent[k, :, 4 * height :].any() and not latent[k, :, :, 4 * width :].any()
        for ours, theirs in zip(groups, alone, strict=True):
            h, w = theirs.table.shape[2:]
            assert torch.equal(ours.table[k, :, :h, :w], theirs.table[0]) and torch.equal(
                ours.mean[k, :, :h, :w], theirs.mean[0]
            )
