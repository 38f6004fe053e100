"""What a step of the codec's training sees, and what it refuses."""

import pytest
import torch

from salcompress.errors import SettingError
from salcompress.training.codec import Recipe, train_codec
from salcompress.training.codec.recipe import crops_of, random_levels
from tests.training.codec.tiny import RECIPE, settings_of, tiny_model


def test_what_a_step_draws():
    recipe = Recipe(batch_size=16, crop=128, large_crop=256, large_every=4)
    assert [crops_of(recipe, step, False) for step in range(4)] == [(4, 256), *[(16, 128)] * 3]
    assert crops_of(recipe, 1, True) == (4, 256) and crops_of(
        recipe._replace(large_every=0), 0, False
    ) == (16, 128)


def test_levels_are_uniform_or_of_two_kinds():
    torch.manual_seed(3)
    levels = random_levels(400, 2, torch.device("cpu"))
    kinds = torch.tensor([len(set(image.flatten().tolist())) for image in levels])
    assert levels.shape == (400, 1, 2, 2) and levels.min() <= 2 and levels.max() >= 61
    assert (
        set(kinds.tolist()) == {1, 2} and 0.5 < (kinds == 1).float().mean() < 0.68
    )  # a map of two shows one in an eighth of cases


@pytest.mark.parametrize(
    "change, message",
    [
        ({"crop": 100}, "crop must be a multiple of 64 pixels, got 100"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"saliency_weight": -1.0}, "must be at least 0"),
        ({"saliency_weight": 1.0}, "needs photographs with a fourth channel"),
        ({"crop": 512}, "no photograph has both sides of at least 512 pixels"),
    ],
)
def test_recipes_that_make_no_sense(photographs, tmp_path, change, message):
    with pytest.raises(SettingError, match=message):
        train_codec(
            tiny_model(),
            photographs,
            settings_of(tmp_path / "a.state", 1),
            RECIPE._replace(**change),
        )
