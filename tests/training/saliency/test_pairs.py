"""Pairs are read as they stand, and what does not fit is named."""

import numpy as np
import pytest

from salcompress.errors import DataError, SettingError
from salcompress.image import decode_image, encode_image
from salcompress.training.saliency.pairs import (
    SaliencyPair,
    load_pairs,
    shrink_pair,
    split_pairs,
)
from salcompress.training.saliency.train import load_data
from tests.training.saliency.drawn import drawn_pairs


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
    with pytest.raises(SettingError, match="nowhere.images holds no images"):
        load_data(folder, tmp_path / "nowhere")
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


def test_a_tenth_is_held_out_by_name_alone():
    pairs = drawn_pairs(21)
    for order in (pairs, pairs[::-1]):
        train, held_out = split_pairs(order)
        assert [pair.name for pair in held_out] == ["000", "010", "020"]
        assert len(train) == 18 and not {p.name for p in train} & {p.name for p in held_out}


@pytest.mark.parametrize("part", ["images", "masks"])
def test_two_files_of_one_name_are_refused(folder, part):
    """One of them would be left out in silence, and the other might get its mask."""
    (folder / part / "001.jpg").write_bytes(encode_image(drawn_pairs(1)[0].image, "JPEG"))
    with pytest.raises(
        DataError,
        match=f"{part}/001.jpg and .*{part}/001.png have one name; .*rename one of them",
    ):
        load_pairs(folder)
