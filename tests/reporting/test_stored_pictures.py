"""Pictures of a page fit, and the page says how true they are."""

import base64

import numpy as np
import pytest

from salcompress.image import decode_image, encode_image
from salcompress.metrics.psnr_ssim import psnr
from salcompress.reporting.stored_pictures import store_pictures


@pytest.fixture
def path(picture, tmp_path):
    (tmp_path / "a.png").write_bytes(encode_image(picture, "PNG"))
    return tmp_path / "a.png"


def pixels(uri):
    return decode_image(base64.b64decode(uri.partition(",")[2]))


def test_what_fits_is_stored_to_the_last_bit(path, picture):
    stored = store_pictures([path, path])
    assert list(stored.uris) == [path] and np.array_equal(pixels(stored.uris[path]), picture)
    assert stored.note == "Every pixel is the one that the detector saw."


def test_what_does_not_fit_is_smaller_and_the_page_says_so(path, picture):
    whole = len(store_pictures([path]).uris[path])
    stored = store_pictures([path], budget=whole // 2)
    assert len(stored.uris[path]) <= whole // 2
    assert f"{psnr(picture, pixels(stored.uris[path])):.0f} dB or more" in stored.note
    assert "stored by AVIF at quality 9" in stored.note


def test_large_pictures_shrink_and_the_page_says_so(path, picture):
    stored = store_pictures([path], budget=100)  # which nothing fits
    assert pixels(stored.uris[path]).shape[0] == round(picture.shape[0] / 4)
    assert "at a quarter of their size" in stored.note
