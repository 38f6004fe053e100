"""Laws of the tiles in which large images are searched."""

import numpy as np
import pytest
import torch

from salcompress.codecs.salient import refine, search_loss, tiles
from salcompress.data.scenes import make_scene
from tests.codecs.salient.searched import PERCEPTUAL_WEIGHT, lambda_, loss_in_bpp, searching


@pytest.mark.parametrize("with_loss", [False, True])
def test_large_images_are_searched_in_tiles(monkeypatch, with_loss):
    image = (
        np.random.default_rng(1).normal(0, 20, (200, 330, 3)) + make_scene(22, 1, 200, 330).image
    )
    image = np.clip(image, 0, 255).astype(np.uint8)
    target = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    def squared(reconstruction):
        assert reconstruction.shape == target.shape
        return (
            lambda_(codec)
            * search_loss.ERROR_WEIGHT
            * 255**2
            * (reconstruction - target).square().mean()
        )

    codec, loss, weight = (
        searching(6),
        squared if with_loss else None,
        0 if with_loss else PERCEPTUAL_WEIGHT,
    )
    whole = codec.refine(image, loss)
    monkeypatch.setattr(refine, "TILE_CELLS", 8)
    monkeypatch.setattr(tiles, "TILE_SIDE", 3)
    assert [tuple(part) for part in tiles.parts(6)] == [(0, 0, 3, 4), (2, 3, 6, 6)]
    streams = searching(0).encode(image), codec.refine(image, loss), whole
    before, after, whole = (loss_in_bpp(codec, image, s, weight) for s in streams)
    # tiles see less than the whole, but take turns: what they gain is about as much
    assert before - after > 0.6 * (before - whole) > 0


@pytest.mark.parametrize("num_cells", [1, 9, 10, 11, 13, 20, 21, 47, 63, 1000])
def test_tiles_cover_every_cell_once(num_cells):
    parts = tiles.parts(num_cells)
    assert [cell for part in parts for cell in range(part.core_start, part.core_end)] == list(
        range(num_cells)
    )
    for part in parts:
        # level 2 goes by pairs of cells
        assert part.start % 2 == 0 and (part.end % 2 == 0 or part.end == num_cells)
        assert part.core_end - part.core_start <= tiles.TILE_SIDE + 1
        assert part.core_start - part.start == (
            part.core_start > 0
        ) and part.end - part.core_end == (part.end < num_cells)
