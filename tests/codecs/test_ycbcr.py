"""Colour goes to YCbCr and back without loss at 4:4:4, and 4:2:0 loses colour detail alone."""

import numpy as np
import pytest

from salcompress.codecs.ycbcr import rgb_to_ycbcr, ycbcr_to_rgb


def test_every_colour_survives_444():
    """A sample of 10 bits is four times finer than what it is made of."""
    red, green, blue = np.meshgrid(*[np.arange(0, 256, 3, dtype=np.uint8)] * 3, indexing="ij")
    image = np.stack([red, green, blue], axis=-1).reshape(86 * 86, 86, 3)
    assert np.array_equal(ycbcr_to_rgb(rgb_to_ycbcr(image, 444)), image)


@pytest.mark.parametrize(
    "colour, expected",
    [
        ((255, 255, 255), (1023, 512, 512)),
        ((0, 0, 0), (0, 512, 512)),
        ((255, 0, 0), (306, 339, 1023)),  # 0.299 of 1023; 512 - 0.168736 of it; 512 + 0.5, cut
        ((0, 0, 255), (117, 1023, 429)),
    ],
)
@pytest.mark.parametrize("subsampling", [444, 420])
def test_the_matrix_is_that_of_bt601_over_the_full_range(colour, expected, subsampling):
    image = np.tile(np.array(colour, np.uint8), (4, 6, 1))
    planes = rgb_to_ycbcr(image, subsampling)
    assert [np.unique(plane).tolist() for plane in planes] == [[value] for value in expected]


def test_420_keeps_grey_exactly_and_loses_detail_of_colour_alone(picture):
    even = picture[:200, :250]
    grey = np.repeat(even[:, :, 1:2], 3, axis=2)
    planes = rgb_to_ycbcr(grey, 420)
    assert [plane.shape for plane in planes] == [(200, 250), (100, 125), (100, 125)]
    assert np.array_equal(ycbcr_to_rgb(planes), grey)
    y, *_ = rgb_to_ycbcr(even, 420)
    decoded_y, *_ = rgb_to_ycbcr(ycbcr_to_rgb(rgb_to_ycbcr(even, 420)), 420)
    inside = np.abs(decoded_y.astype(int) - y)
    assert np.median(inside) <= 2  # of 1023; where colours are cut to 0 to 255, it is more


def test_chroma_stays_in_its_place():
    """A shift of chroma by half a pixel would move the centre of a coloured square."""
    image = np.full((32, 32, 3), 90, np.uint8)
    image[8:24, 8:24] = (200, 40, 40)
    decoded = ycbcr_to_rgb(rgb_to_ycbcr(image, 420)).astype(int)
    assert np.array_equal(decoded, decoded[::-1]) and np.array_equal(decoded, decoded[:, ::-1])
