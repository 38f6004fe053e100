"""Photographs are read whatever they are, and crops show them evenly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salcompress.data.scenes import make_scene
from salcompress.errors import SettingError
from salcompress.image import encode_image
from salcompress.training.photograph_files import find_images, load_photographs, without
from salcompress.training.photographs import Photographs


def test_saliency_stays_with_its_pixels():
    """Scaled, cropped and mirrored as the picture is: red is 255 where salient and nowhere else."""
    picture = make_scene(1, 1, 200, 240).image.copy()
    picture[..., 0] = np.where(np.arange(240) < 120, 255, 0)
    torch.manual_seed(1)
    crops = Photographs([np.dstack([picture, picture[..., 0]])]).crops(24, 64)
    assert crops.shape == (24, 4, 64, 64) and torch.equal(crops[:, 0], crops[:, 3])
    assert {0.0, 1.0} <= set(crops[:, 3].flatten().tolist())


def test_crops_are_of_the_photographs_at_their_scales():
    """At full size each crop is found again in its photograph, as it is or mirrored."""
    pictures = [make_scene(2, k, 70, 90).image for k in range(2)]
    torch.manual_seed(2)
    crops = (Photographs(pictures).crops(40, 64) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    windows = [
        picture[top : top + 64, left : left + 64]
        for picture in pictures
        for top in range(7)
        for left in range(27)
    ]
    mirrored = [any(np.array_equal(crop[:, ::-1], window) for window in windows) for crop in crops]
    plain = [any(np.array_equal(crop, window) for window in windows) for crop in crops]
    assert all(
        a or b for a, b in zip(mirrored, plain)
    )  # 64 pixels leave no smaller scale of pictures this size
    assert 8 <= sum(plain) <= 32


def test_every_pixel_is_as_likely_as_any_other():
    """Of a photograph four times as large, four times as many crops; half of all crops at full
    size.
    """
    flat = [np.full((side, side, 3), value, np.uint8) for side, value in ((200, 40), (400, 200))]
    torch.manual_seed(3)
    share = (Photographs(flat).crops(4000, 64)[:, 0, 0, 0] > 0.5).float().mean()
    assert share == pytest.approx(0.8, abs=0.02)  # four standard deviations


def test_smaller_scales_give_their_share():
    """Stripes of two pixels' period are flat grey at half the size, and nowhere else."""
    stripes = np.broadcast_to((np.arange(512) % 2 * 255).astype(np.uint8)[:, None], (512, 512, 3))
    torch.manual_seed(6)
    contrast = Photographs([stripes]).crops(2000, 64)[:, 0, 0].std(1)
    flat, full = (contrast < 0.02).float().mean(), (contrast > 0.49).float().mean()
    assert flat == pytest.approx(0.25, abs=0.04) and full == pytest.approx(
        0.5, abs=0.045
    )  # four standard deviations


def test_what_is_held_out_is_left_out_or_refused(tmp_path, monkeypatch):
    for name in ("a", "b", "held/c", "held/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8), "PNG"))
    monkeypatch.chdir(tmp_path)
    paths = find_images([tmp_path])
    assert [path.stem for path in without(paths, [Path("held"), Path("a.png")])] == ["b"]
    with pytest.raises(
        SettingError, match="b.png is to be left out, and is not among the photographs given"
    ):
        without(find_images([Path("held")]), [Path("b.png")])
    with pytest.raises(SettingError, match="nowhere.png holds no images"):
        without(paths, [Path("nowhere.png")])


def test_draws_follow_torch_s_generator():
    photographs = Photographs([make_scene(4, 0, 128, 160).image])
    first, second = (torch.manual_seed(5) and photographs.crops(3, 64) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, photographs.crops(3, 64))


def test_crops_larger_than_every_photograph():
    with pytest.raises(SettingError, match="no photograph has both sides of at least 192 pixels"):
        Photographs([np.zeros((100, 300, 3), np.uint8)]).crops(1, 192)
    with pytest.raises(SettingError, match="there are no photographs"):
        Photographs([])


@pytest.fixture
def odd_files(tmp_path):
    """One good photograph, and what people's folders hold beside them."""
    image = make_scene(6, 0, 80, 96).image
    (tmp_path / "a_good.png").write_bytes(encode_image(image, "PNG"))
    (tmp_path / "b_cut.png").write_bytes(encode_image(image, "PNG")[:400])
    (tmp_path / "c_small.png").write_bytes(encode_image(image[:40], "PNG"))
    Image.fromarray(np.dstack([image, image[..., 0]])).save(tmp_path / "d_alpha.png")
    Image.fromarray((image[..., 0].astype(np.uint16) << 8) | 77).save(tmp_path / "e_deep.png")
    Image.fromarray(image).save(
        tmp_path / "f_profile.png", icc_profile=b"a profile of some other colours"
    )
    Image.fromarray(image[..., 0].astype(np.float32)).save(tmp_path / "g_float.tiff")
    (tmp_path / "h_empty.jpg").write_bytes(b"")
    return tmp_path


def test_odd_photographs(odd_files, capsys):
    image = make_scene(6, 0, 80, 96).image
    good, alpha, deep, profile = load_photographs(find_images([odd_files]), 64)
    assert (
        np.array_equal(good, image)
        and np.array_equal(alpha, image)
        and np.array_equal(profile, image)
    )
    assert np.array_equal(deep, np.repeat(image[..., :1], 3, 2))
    out = capsys.readouterr().out
    assert "3 of 8 photographs cannot be read and are left out: " in out and all(
        name in out for name in ("b_cut", "g_float", "h_empty")
    )
    assert "1 of 8 photographs have a side of less than 64 pixels" in out


def test_nothing_to_train_on(tmp_path, odd_files):
    with pytest.raises(SettingError, match="holds no images"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(
        SettingError,
        match="none of 8 photographs can be read and has both sides of at least 512 pixels",
    ):
        load_photographs(find_images([odd_files]), 512)


def half_salient(image):
    return np.full(image.shape[:2], 0.5)


def test_several_processes_read_as_one_does(tmp_path):
    for k in range(34):
        (tmp_path / f"{k:02}.png").write_bytes(
            encode_image(np.full((64, 64, 3), k, np.uint8), "PNG") if k != 20 else b"torn"
        )
    pictures = load_photographs(
        find_images([tmp_path]),
        64,
        saliency=half_salient,
        processes=2,
    )
    assert [picture[0, 0].tolist() for picture in pictures] == [
        [k, k, k, 128] for k in range(34) if k != 20
    ]


def test_the_fingerprint_is_of_the_colours_in_their_order():
    """Not of saliency, whose rounding may differ between machines, nor of how pixels lie."""
    pictures = [make_scene(5, k, 70, 90).image for k in range(2)]
    salient = [np.dstack([picture, picture[..., 0]]) for picture in pictures]

    def of(pictures):
        return Photographs(pictures).fingerprint

    assert of(pictures) == of(salient) == of([np.asfortranarray(picture) for picture in pictures])
    changed = pictures[0].copy()
    changed[0, 0, 0] ^= 1
    others = [pictures[::-1], pictures[:1], [changed, pictures[1]]]
    assert len({of(pictures), *map(of, others)}) == 4
