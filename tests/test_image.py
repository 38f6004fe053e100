"""Every kind of image file becomes upright 8-bit RGB, or an error that names it."""

import io

import numpy as np
import pytest
from PIL import Image

from salcompress.errors import CorruptError, DataError, SettingError, TruncatedError
from salcompress.image import (
    bits_per_pixel,
    decode_image,
    read_image,
    read_size,
    swap_channels,
    to_tensor,
)


def file_of(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "RGB"])
def test_modes_become_the_rgb_that_pillow_and_detectron2_see(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    assert np.array_equal(decode_image(file_of(image, "PNG")), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb(picture):
    stream = file_of(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95)
    assert np.array_equal(
        decode_image(stream), np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
    )


def test_sixteen_bit_grey_keeps_its_high_byte():
    samples = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    decoded = decode_image(file_of(Image.fromarray(samples), "PNG"))
    assert decoded[:, :, 0].tolist() == [[0, 0, 1], [128, 255, 255]]
    assert (decoded == decoded[:, :, :1]).all()


def test_samples_without_an_8_bit_range_are_refused():
    stream = file_of(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(CorruptError, match="convert to 8 bits first"):
        decode_image(stream)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_size_agrees(tmp_path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    path.write_bytes(file_of(Image.fromarray(picture), "PNG", exif=exif))
    image = read_image(path)
    assert image.shape[:2] == (picture.shape[:2] if orientation <= 4 else picture.shape[1::-1])
    assert read_size(path) == image.shape[:2]
    if orientation == 6:  # the camera was turned: rotate clockwise
        assert np.array_equal(image, np.rot90(picture, -1))


@pytest.mark.parametrize(
    "keep, error", [(0, TruncatedError), (3, CorruptError), (2000, TruncatedError)]
)
def test_empty_and_cut_files(picture, keep, error):
    with pytest.raises(error, match="empty|not an image|truncated"):
        decode_image(file_of(Image.fromarray(picture), "JPEG")[:keep])


def test_errors_name_the_file(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image at all")
    with pytest.raises(DataError, match="bad.jpg"):
        read_image(tmp_path / "bad.jpg")
    with pytest.raises(DataError, match="bad.jpg"):
        read_size(tmp_path / "bad.jpg")
    with pytest.raises(DataError, match="missing.jpg: No such file"):
        read_image(tmp_path / "missing.jpg")


def test_a_header_that_claims_a_gigantic_image_is_refused(tmp_path):
    (tmp_path / "bomb.ppm").write_bytes(b"P6 65535 65535 255\n" + bytes(100))
    with pytest.raises(DataError, match="bomb.ppm"):
        read_image(tmp_path / "bomb.ppm")


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        [1],
    ],
)
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(SettingError, match="image must"):
        to_tensor(wrong)


def test_tensor_and_channel_conventions(picture):
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, *picture.shape[:2])
    assert tensor[0, 2, 5, 7].item() == pytest.approx(
        picture[5, 7, 2] / 255, abs=1e-7
    )  # one float32 rounding
    assert np.array_equal(swap_channels(swap_channels(picture)), picture)
    assert swap_channels(picture)[5, 7].tolist() == picture[5, 7, ::-1].tolist()
    assert bits_per_pixel(100, 5, 10) == 2
