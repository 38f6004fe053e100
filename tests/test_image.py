"""Every kind of image file becomes upright 8-bit RGB, or an error that names it."""

import io
import os
import struct

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import salcompress.image
from salcompress.errors import CorruptError, DataError, SettingError, TruncatedError
from salcompress.image import (
    ImageSizes,
    bits_per_pixel,
    check_image,
    decode_image,
    read_image,
    read_size,
    read_sizes,
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


def test_sixteen_bits_are_read_alike_in_grey_and_colour():
    samples = np.random.default_rng(0).integers(0, 65536, (9, 7), dtype=np.uint16)
    grey, colour = (
        decode_image(cv2.imencode(".png", array)[1].tobytes())
        for array in (samples, np.repeat(samples[:, :, None], 3, axis=2))
    )
    assert np.array_equal(grey, colour)


def test_samples_without_an_8_bit_range_are_refused():
    stream = file_of(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(CorruptError, match="convert to 8 bits first"):
        decode_image(stream)


TURNS = {  # what makes stored pixels upright, by the EXIF standard
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied_and_sizes_agree(tmp_path, picture, orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(file_of(Image.fromarray(picture), image_format, exif=exif))
    image = read_image(path)
    assert read_sizes(path) == ImageSizes(image.shape[:2], picture.shape[:2])
    assert read_size(path) == image.shape[:2]
    # of a turned JPEG the stored pixels are those of the same file without the turn
    stored = decode_image(file_of(Image.fromarray(picture), image_format))
    assert np.array_equal(image, TURNS[orientation](stored))


def exif_block(*entries: tuple[int, int, bytes]) -> bytes:
    """An EXIF block of tag, type and value of four bytes, whatever they are."""
    directory = b"".join(struct.pack("<HHI", tag, kind, 1) + value for tag, kind, value in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)


TURNED = (0x0112, 3, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize(
    "odd",
    [
        (0x0100, 9, struct.pack("<i", -5)),  # a negative width
        (0x0128, 9, struct.pack("<i", -1)),  # a negative unit
        (0x0213, 4, struct.pack("<I", 70000)),  # a position that 16 bits cannot hold
        (0x0103, 2, b"abc\0"),  # text for the number of a compression
    ],
)
def test_an_odd_tag_elsewhere_in_the_exif_block_harms_nothing(tmp_path, picture, odd):
    """Writing the block anew, as Pillow's exif_transpose does, fails on each of these."""
    path = tmp_path / "odd.jpg"
    block = exif_block(*sorted([TURNED, odd]))
    path.write_bytes(file_of(Image.fromarray(picture), "JPEG", exif=block))
    assert read_image(path).shape == (picture.shape[1], picture.shape[0], 3)
    assert read_sizes(path) == ImageSizes(picture.shape[1::-1], picture.shape[:2])


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0no TIFF header",
        exif_block((0x0112, 3, struct.pack("<HH", 9, 0))),
        exif_block((0x0112, 2, b"six\0")),
        exif_block(TURNED)[:17],
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_orientation_that_cannot_be_read_is_upright(tmp_path, picture, block):
    path = tmp_path / "upright.jpg"
    path.write_bytes(file_of(Image.fromarray(picture), "JPEG", exif=block))
    assert read_image(path).shape == picture.shape
    assert read_size(path) == picture.shape[:2]


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1"])
def test_heic_is_refused_by_name_with_the_cure(tmp_path, brand):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(200))
    cure = "phone.heic: a HEIC image, .*convert it to PNG or JPEG, or .*pip install pillow-heif"
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=cure):
            read(path)


def test_a_damaged_avif_is_no_heic(picture):
    stream = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(200)
    with pytest.raises(CorruptError, match="AVIF"):
        decode_image(stream)


def test_a_name_that_is_not_utf8(tmp_path, picture):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(file_of(Image.fromarray(picture), "PNG"))
    assert np.array_equal(read_image(path), picture)
    assert read_size(path) == picture.shape[:2]
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="not an image"):
        read_image(path)


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
    for read in (read_image, read_size):
        with pytest.raises(DataError, match="missing.jpg: No such file"):
            read(tmp_path / "missing.jpg")
        with pytest.raises(DataError, match="null"):
            read(tmp_path / "nul\0byte.jpg")
        with pytest.raises(DataError, match="folder|directory"):
            read(tmp_path)


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


@pytest.mark.parametrize(
    "image, is_exact",
    [
        (lambda u8: Image.fromarray(u8), True),
        (lambda u8: to_tensor(u8), True),
        (lambda u8: to_tensor(u8)[0].requires_grad_(), True),
        (lambda u8: torch.from_numpy(u8.copy()), True),
        (lambda u8: torch.from_numpy(u8.transpose(2, 0, 1).copy()), True),
        (lambda u8: u8.transpose(2, 0, 1), True),
        (lambda u8: u8[None], True),
        (lambda u8: u8 / 255, True),
        (lambda u8: u8.astype(np.float32) / 255, True),
        (lambda u8: u8.astype(np.float32), True),
        (lambda u8: u8.astype(np.int64), True),
        (lambda u8: u8.astype(np.uint16) << 8, True),
        (lambda u8: np.dstack([u8, u8[:, :, :1]]), True),
        (lambda u8: file_of(Image.fromarray(u8), "PNG"), True),
        (lambda u8: u8[:, :, 0], False),
        (lambda u8: u8[:, :, :1], False),
        (lambda u8: u8[:, :, 0] > 100, False),
        (lambda u8: torch.from_numpy(u8[None, :, :, 0].copy()), False),
    ],
)
def test_what_is_nearly_an_image_is_refused_with_the_line_that_converts_it(
    picture, image, is_exact
):
    """The line is run as it stands."""
    wrong = image(picture)
    with pytest.raises(SettingError, match="image must be .*; convert it: .") as refusal:
        check_image(wrong)
    line = str(refusal.value).partition("convert it: ")[2]
    converted = eval(line, {"np": np, "salcompress": salcompress, "image": wrong})
    check_image(converted)
    expected = picture if is_exact else np.repeat(picture[:, :, :1], 3, axis=2)
    assert converted.shape == expected.shape
    if not (isinstance(wrong, np.ndarray) and wrong.dtype.kind == "b"):  # a mask has lost the rest
        assert np.array_equal(converted, expected)


def test_a_path_is_refused_with_the_function_that_reads_it(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.fromarray(picture), "PNG"))
    with pytest.raises(SettingError, match=r"got \w*Path; convert it: .*read_image\(image\)$"):
        check_image(path)


@pytest.mark.parametrize("wrong", [[1], None, np.zeros((4, 4, 7)), np.zeros(3, np.uint8)])
def test_what_is_far_from_an_image_has_no_such_line(wrong):
    with pytest.raises(SettingError, match=r"image must be a uint8 array \(H, W, 3\), got [^;]*$"):
        check_image(wrong)


def test_tensor_and_channel_conventions(picture):
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, *picture.shape[:2])
    assert tensor[0, 2, 5, 7].item() == pytest.approx(
        picture[5, 7, 2] / 255, abs=1e-7
    )  # one float32 rounding
    assert np.array_equal(swap_channels(swap_channels(picture)), picture)
    assert swap_channels(picture)[5, 7].tolist() == picture[5, 7, ::-1].tolist()
    assert bits_per_pixel(100, 5, 10) == 2
