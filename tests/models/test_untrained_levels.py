"""Quality levels that a training did not draw go on from those that it did."""

import copy

import pytest
import torch

from salcompress.bitstream.format import NUM_LEVELS
from salcompress.models.compression_model import CompressionModel, ModelConfig
from salcompress.models.untrained_levels import continue_levels

ANCHOR_GAP = 63 / 15  # levels between two anchors of a gain


def used(*ranges):
    """Cells of each level, alike within each range (first, last)."""
    counts = torch.zeros(NUM_LEVELS, dtype=torch.int64)
    for first, last in ranges:
        counts[first : last + 1] += 100
    return counts


@pytest.fixture
def start():
    torch.manual_seed(0)
    model = CompressionModel(ModelConfig(16, 16, 16, 8, 16))
    with torch.no_grad():
        model.prior.embedding.table.normal_()
    return model


def after_training(start, counts, change=2.0):
    """Weights that gained ``change`` wherever the counted levels gave a gradient."""
    model = copy.deepcopy(start)
    levels = counts.nonzero()[:, 0]
    with torch.no_grad():
        for anchor in range(16):
            if ((levels - anchor * ANCHOR_GAP).abs() < ANCHOR_GAP).any():
                model.latent_gain.log2_gain[anchor] += change
        model.prior.embedding.table[levels] += change
    return model


@pytest.mark.parametrize(
    "ranges", [[(0, 31)], [(10, 31)], [(40, 63)], [(19, 19)], [(5, 12), (50, 60)]]
)
def test_a_change_of_all_trained_levels_reaches_all_others(start, ranges):
    model = after_training(start, used(*ranges))
    continue_levels(model, start, used(*ranges))
    for found, given in (
        (model.latent_gain.log2_gain, start.latent_gain.log2_gain),
        (model.prior.embedding.table, start.prior.embedding.table),
    ):
        torch.testing.assert_close(found, given + 2.0)
    torch.testing.assert_close(model.feature_gain.log2_gain, start.feature_gain.log2_gain)


def test_what_was_trained_stays_up_to_the_last_trained_anchor(start):
    """Levels 30 and 31 lie between anchor 7 and anchor 8, which hardly any cell reached."""
    torch.manual_seed(1)
    model = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    trained = copy.deepcopy(model.state_dict())
    continue_levels(model, start, used((0, 31)))
    for name, value in model.state_dict().items():
        rows = 8 if name.endswith("log2_gain") else 30 if name.endswith("embedding.table") else None
        torch.testing.assert_close(value[:rows], trained[name][:rows], rtol=0, atol=0)
    gain, before = model.latent_gain.log2_gain, start.latent_gain.log2_gain
    torch.testing.assert_close(gain[8:] - gain[7], before[8:] - before[7])
    table, before = model.prior.embedding.table, start.prior.embedding.table
    torch.testing.assert_close(table[30:] - table[29], before[30:] - before[29])


def test_between_trained_levels_the_change_is_interpolated(start):
    counts = used((0, 8), (50, 63))
    model = copy.deepcopy(start)
    with torch.no_grad():
        model.prior.embedding.table[:9] += 1.0
        model.prior.embedding.table[50:] += 3.0
    continue_levels(model, start, counts)
    change = (model.prior.embedding.table - start.prior.embedding.table)[:, 0]
    assert change[:9].tolist() == pytest.approx([1.0] * 9, abs=1e-5)
    assert change[29].item() == pytest.approx(2.0, abs=1e-5)
    assert change.diff().min() >= -1e-5


@pytest.mark.parametrize("counts", [used((0, 63)), used()])
def test_nothing_changes_where_all_levels_were_trained_or_none(start, counts):
    model = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    trained = copy.deepcopy(model.state_dict())
    continue_levels(model, start, counts)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=0, atol=0)


def test_a_level_that_hardly_any_cell_had_is_not_trained(start):
    counts = used((0, 31))
    counts[45] = 1
    model = after_training(start, counts)
    with torch.no_grad():
        model.prior.embedding.table[45] += 100.0
    continue_levels(model, start, counts)
    torch.testing.assert_close(model.prior.embedding.table, start.prior.embedding.table + 2.0)
