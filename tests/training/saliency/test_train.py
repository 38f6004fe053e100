"""Training of SaliencyNet: what it sees, what it learns, what it refuses."""

import numpy as np
import pytest
import torch

from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.image import decode_image, encode_image
from salcompress.metrics.saliency_scores import SaliencyScores, mean_scores
from salcompress.saliency.network import SaliencyNet
from salcompress.training.saliency.pairs import (
    SaliencyPair,
    Sources,
    load_coco_pairs,
    load_pairs,
    saliency_batches,
    shrink_pair,
)
from salcompress.training.saliency.train import (
    SaliencyData,
    SaliencySchedule,
    evaluate_folds,
    format_table,
    load_data,
    saliency_loss,
    score_by_folds,
    train_on_all,
    train_saliency,
)


def drawn_pairs(number, seed=41):
    scenes = [make_scene(seed, k, 72, 96) for k in range(number)]
    return [
        SaliencyPair(f"{k:03d}", scene.image, np.any([found.mask for found in scene.objects], 0))
        for k, scene in enumerate(scenes)
    ]


@pytest.fixture
def folder(tmp_path):
    """Four pairs on disk."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for pair in drawn_pairs(4):
        (tmp_path / "images" / f"{pair.name}.png").write_bytes(encode_image(pair.image, "PNG"))
        (tmp_path / "masks" / f"{pair.name}.png").write_bytes(
            encode_image(np.repeat(pair.mask[:, :, None] * np.uint8(255), 3, 2), "PNG")
        )
    return tmp_path


def test_pairs_come_back_as_written(folder):
    for pair, expected in zip(load_pairs(folder), drawn_pairs(4), strict=True):
        assert (
            pair.name == expected.name
            and np.array_equal(pair.image, expected.image)
            and np.array_equal(pair.mask, expected.mask)
        )


@pytest.mark.parametrize(
    "part, missing",
    [("masks", "images.002.png has no mask"), ("images", "masks.002.png has no image")],
)
def test_a_missing_half_is_named(folder, part, missing):
    (folder / part / "002.png").unlink()
    with pytest.raises(DataError, match=missing):
        load_pairs(folder)
    (folder / part / "003.png").unlink()
    with pytest.raises(DataError, match="nor have 1 others"):
        load_pairs(folder)


def test_nothing_is_rescaled_in_silence(folder):
    (folder / "masks" / "001.png").write_bytes(encode_image(np.zeros((36, 48, 3), np.uint8), "PNG"))
    with pytest.raises(DataError, match="masks/001.png is 48x36, but its image 96x72"):
        load_pairs(folder)


def test_damaged_and_absent_folders(folder, tmp_path):
    with pytest.raises(
        SettingError, match="nowhere.images holds no images; pairs are FOLDER/images"
    ):
        load_pairs(tmp_path / "nowhere")
    with pytest.raises(SettingError, match="images folder .*nowhere.images does not exist"):
        load_data(folder, tmp_path / "nowhere", [])
    (folder / "masks" / "001.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="masks/001.png: not an image"):
        load_pairs(folder)


def test_masks_of_zeros_and_ones_are_refused(folder):
    """Read as 8-bit grey they would mark nothing, in silence."""
    mask = decode_image((folder / "masks" / "001.png").read_bytes()) // 255
    (folder / "masks" / "001.png").write_bytes(encode_image(mask, "PNG"))
    with pytest.raises(
        DataError,
        match="masks/001.png marks nothing: masks are 0 and 255, and its largest value is 1",
    ):
        load_pairs(folder)


def test_a_tiny_object_does_not_vanish_when_pairs_are_shrunk():
    mask = np.zeros((900, 1200), bool)
    mask[401:403, 601:603] = True
    assert shrink_pair(SaliencyPair("a", np.zeros((900, 1200, 3), np.uint8), mask)).mask.any()


def test_coco_pairs_are_unions_of_larger_objects(scenes):
    every, large = load_coco_pairs(scenes.parent, 0.0), load_coco_pairs(scenes.parent, 0.05)
    drawn = make_scene(21, 0)
    assert 0 < len(large) <= len(every) == 6
    # polygons may differ from the drawn mask along its edge
    assert (every[0].mask ^ np.any([found.mask for found in drawn.objects], 0)).mean() < 0.02
    assert sum(pair.mask.mean() for pair in large) < sum(pair.mask.mean() for pair in every)


def test_batches_depend_on_seed_and_step_alone():
    source = Sources(drawn_pairs(3), [make_scene(42, 0, 80, 80).image], 0.5)
    stream = saliency_batches([(1.0, source)], 7, 0, 4, 64)
    first, second = next(stream), next(stream)
    again = next(saliency_batches([(1.0, source)], 7, 1, 4, 64))
    assert (
        torch.equal(second.image, again.image)
        and torch.equal(second.mask, again.mask)
        and not torch.equal(first.image, second.image)
    )
    assert first.image.shape == (4, 3, 64, 64) and first.mask.shape == (4, 1, 64, 64)
    assert (
        first.image.min() >= 0
        and first.image.max() <= 1
        and set(first.mask.unique().tolist()) <= {0, 1}
    )


def test_pasted_objects_carry_their_mask():
    """A white object on black backgrounds: wherever it is pasted, the mask is there and nowhere
    else.
    """
    mask = np.zeros((60, 60), bool)
    mask[20:40, 15:45] = True
    pair = SaliencyPair(
        "white", np.where(mask[:, :, None], 255, 90).astype(np.uint8).repeat(3, 2), mask
    )
    source = Sources([pair], [np.zeros((64, 64, 3), np.uint8)], 1.0)
    batch = next(saliency_batches([(1.0, source)], 3, 0, 16, 96))
    bright = batch.image.mean(1, keepdim=True) > 0.3
    assert (bright != batch.mask.bool()).float().mean() < 0.06  # soft edges, and recolouring
    assert batch.mask.mean((1, 2, 3)).min() > 0.01


def test_every_side_output_is_supervised():
    torch.manual_seed(0)
    model = SaliencyNet()
    saliency_loss(model(torch.rand(2, 3, 64, 96)), torch.rand(2, 1, 64, 96).round()).backward()
    for k in range(4):
        assert model.side[k].weight.grad.abs().sum() > 0
    assert all(
        parameter.grad is not None and torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
    )
    # a side is supervised by itself too, not just through the fusion and those that see it
    output = model(torch.rand(2, 3, 64, 96))
    for side in output.sides:
        side.retain_grad()
    saliency_loss(
        output._replace(fused=output.fused.detach()), torch.zeros(2, 1, 64, 96)
    ).backward()
    assert all((side.grad > 0).any() for side in output.sides)


def test_a_perfect_output_costs_nothing():
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, :32] = 1
    sure = [
        torch.where(torch.nn.functional.interpolate(mask, (s, s)) > 0, 40.0, -40.0)
        for s in (16, 2, 4, 8, 16)
    ]
    output = SaliencyNet()(torch.rand(1, 3, 64, 64).repeat(2, 1, 1, 1))._replace(
        fused=sure[0], sides=tuple(sure[1:])
    )
    assert saliency_loss(output, mask) < 1e-6


def test_a_short_training_learns(tmp_path):
    """From scratch, on a few drawn scenes: seconds are enough for the loss on scenes not seen to
    fall clearly.
    """
    pairs = drawn_pairs(24)
    schedule = SaliencySchedule(0, 60, 5, tmp_path / "s.ckpt", batch_size=4, side=64)
    untrained = SaliencyNet().eval()
    model = train_saliency(pairs[:16], SaliencyData([], [], []), schedule, "all")
    assert (tmp_path / "s.all.ckpt").is_file()

    def error(net):
        batch = next(saliency_batches([(1.0, Sources(pairs[16:], [], 0.0))], 9, 0, 16, 64))
        return saliency_loss(net(batch.image), batch.mask).item()

    assert error(model) < 0.95 * error(
        untrained
    )  # 0.91 when measured; with a broken loss or labels it stays at 1 or above


def test_time_up_is_said_and_weights_are_written(tmp_path):
    data = SaliencyData(drawn_pairs(2), [], [])
    schedule = SaliencySchedule(0, 2, 0, tmp_path / "s.ckpt", batch_size=2, side=32)
    with pytest.raises(
        SettingError,
        match="all: 0 of 2 steps done when the time of this run was up.*run the same command again",
    ):
        train_on_all(data, schedule, tmp_path / "w.safetensors")
    assert "2 pairs" in train_on_all(data, schedule._replace(minutes=1), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_size < 2e6
    with pytest.raises(SettingError, match="pre-training needs a COCO folder"):
        train_saliency(data.pairs, data, schedule._replace(pretrain_steps=1), "all")


def test_folds_hold_out_what_they_score():
    pairs, seen_by_fold = drawn_pairs(7), []

    def train_on(seen, part):
        seen_by_fold.append((part, {pair.name for pair in seen}))
        return SaliencyNet().eval()

    rows = evaluate_folds(
        pairs[::-1], 3, train_on
    )  # the order of names counts, not that of the list
    assert seen_by_fold == [
        (f"fold{k}", {f"{j:03d}" for j in range(7) if j % 3 != k}) for k in range(3)
    ]
    assert list(rows) == ["network (held out)", "classical", "centre prior"] and all(
        0 <= v <= 1 for row in rows.values() for v in row
    )
    for folds in (1, 8):
        with pytest.raises(SettingError, match=f"from 2 to the number of pairs, 7; got {folds}"):
            evaluate_folds(pairs, folds, train_on)


def test_table(tmp_path):
    text = format_table({"a": SaliencyScores(0.12345, 0.2, 0.3)})
    assert (
        text.splitlines()[0].startswith("| method | F-beta")
        and text.splitlines()[2] == "| a | 0.123 | 0.200 | 0.300 |"
    )
    schedule = SaliencySchedule(0, 1, 1, tmp_path / "s.ckpt", batch_size=2, side=32)
    assert (
        len(
            score_by_folds(
                SaliencyData(drawn_pairs(2), [], []), schedule, 2, tmp_path / "maps"
            ).splitlines()
        )
        == 5
    )
    assert sorted(p.stem for p in (tmp_path / "maps").iterdir()) == sorted(
        pair.name for pair in drawn_pairs(2)
    )
    assert mean_scores([SaliencyScores(1, 1, 1)]) == (1, 1, 1)
