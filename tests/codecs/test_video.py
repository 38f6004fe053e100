"""What the codecs behind FFmpeg promise beyond the laws of every codec."""

import numpy as np
import pytest

pytest.importorskip("imageio_ffmpeg", reason='needs the extra "codecs"')

from salcompress.codecs import load_codec, load_codecs
from salcompress.codecs.ffmpeg import ffmpeg_binary, run
from salcompress.codecs.ycbcr import rgb_to_ycbcr, ycbcr_to_rgb
from salcompress.data.scenes import make_scene
from salcompress.errors import CorruptError, SettingError, TruncatedError
from salcompress.metrics.psnr_ssim import psnr


@pytest.fixture(scope="module")
def even():
    return make_scene(22, 0, 128, 192).image


@pytest.mark.parametrize(
    "spec",
    [
        "hevc:preset=ultrafast",
        "hevc:preset=ultrafast,subsampling=420",
        "vvc:preset=faster",
        "jxl:effort=3",
    ],
)
def test_bits_and_psnr_rise_with_quality(spec, even):
    qualities = (15, 40, 65, 90)
    streams, figures = [], []
    for q in qualities:
        codec = load_codec(f"{spec},q={q}")
        streams.append(len(codec.encode(even)))
        figures.append(psnr(even, codec.decode(codec.encode(even))))
    assert streams == sorted(set(streams)) and figures == sorted(set(figures))


def test_the_best_quality_is_near_what_the_chroma_format_allows(even):
    """The bound of a chroma format is what the conversion alone costs. HEVC's finest steps stay
    below one grey level, and so do VVC's.
    """
    for spec, subsampling in (
        ("hevc:q=100,preset=ultrafast", 444),
        ("hevc:q=100,preset=ultrafast,subsampling=420", 420),
        ("vvc:q=94,preset=faster", 420),
    ):
        codec = load_codec(spec)
        assert codec.qp <= 3
        decoded = codec.decode(codec.encode(even)).astype(int)
        converted = ycbcr_to_rgb(rgb_to_ycbcr(even, subsampling)).astype(int)
        assert np.abs(decoded - converted).mean() < 0.5
        if subsampling == 444:
            assert np.array_equal(converted, even) and psnr(even, decoded.astype(np.uint8)) > 52
    jxl = load_codec("jxl:q=100")
    assert np.array_equal(jxl.decode(jxl.encode(even)), even)


@pytest.mark.parametrize(
    "spec", ["hevc:q=40,subsampling=420,preset=ultrafast", "vvc:preset=faster"]
)
def test_padding_costs_one_byte_and_only_where_there_is_some(spec, even):
    codec = load_codec(spec)
    start = (b"\0\0\1", b"\0\0\0\1")
    stream = codec.encode(even)
    assert stream.startswith(start)
    odd = np.ascontiguousarray(even[:-1, :-1])
    padded = codec.encode(np.pad(odd, ((0, 1), (0, 1), (0, 0)), mode="edge"))
    assert codec.encode(odd) == b"\x11" + padded
    assert np.array_equal(codec.decode(codec.encode(odd)), codec.decode(padded)[:-1, :-1])
    assert codec.encode(even[:1, :1])[0] == 0xFF  # 1x1 is padded by 15 columns and 15 rows
    assert load_codec("hevc:preset=ultrafast").encode(odd).startswith(start)  # 4:4:4 holds it


def test_padding_larger_than_the_picture_is_refused(even):
    """Streams of ours are of 16 pixels a side at least; this one is cropped to 4 columns."""
    codec = load_codec("hevc:preset=ultrafast")
    path, _ = ffmpeg_binary(codec.name, codec.library)
    crop = ["-f", "hevc", "-i", "-", "-c", "copy", "-bsf:v", "hevc_metadata=crop_right=12"]
    stream = run(path, [*crop, "-f", "hevc"], codec.encode(even[:16, :16]), timeout_s=60)
    stream = stream.removesuffix(codec.end) + codec.end
    assert codec.decode(stream).shape == (16, 4, 3)
    with pytest.raises(CorruptError, match="the padding is larger than the picture"):
        codec.decode(b"\xff" + stream)


@pytest.mark.parametrize("spec", ["hevc:q=40,preset=ultrafast", "vvc:q=40,preset=faster"])
def test_a_stream_that_lacks_its_last_byte_is_truncated(spec, even):
    codec = load_codec(spec)
    with pytest.raises(TruncatedError, match=f"damaged {codec.name} stream: its end is missing"):
        codec.decode(codec.encode(even)[:-1])


@pytest.mark.parametrize("spec", ["hevc:q=40,preset=ultrafast", "vvc:q=40,preset=faster"])
def test_a_stream_is_bare_and_says_what_its_samples_mean(spec, even):
    """The samples of any other decoder are ours: no container, no metadata, BT.601, full range."""
    codec = load_codec(spec)
    stream = codec.encode(even)
    assert not any(word in stream for word in (b"x265", b"ftyp", b"Lavc", b"arning"))
    path, _ = ffmpeg_binary(codec.name, codec.library)
    to_rgb = ["-f", codec.name, "-i", "-", "-vf", "scale=flags=accurate_rnd+full_chroma_int"]
    other = run(path, [*to_rgb, "-pix_fmt", "rgb24", "-f", "rawvideo"], stream, timeout_s=60)
    shown = np.frombuffer(other, np.uint8).reshape(even.shape).astype(int)
    # another chroma filter and dithering; the limited range or BT.709 would be off by several
    assert np.abs(shown - codec.decode(stream)).mean() < 1.5


def test_qualities_are_those_of_each_codecs_own_scale():
    assert [codec.qp for codec in load_codecs("hevc:q=0,50,100")] == [51, 25, 0]
    assert [codec.qp for codec in load_codecs("vvc:q=0,50,100")] == [63, 31, 0]
    distances = [codec.distance for codec in load_codecs("jxl:q=11,30,90,100")]
    assert distances == pytest.approx([14.4877, 6.4, 1.0, 0], abs=1e-3)
    assert load_codec("vvc").setting == "q=60,subsampling=420,preset=medium"
    assert load_codec("hevc").setting == "q=60,subsampling=444,preset=slower"
    with pytest.raises(SettingError, match=r"chroma subsampling\) must be one of 420, got '444'"):
        load_codec("vvc:subsampling=444")


def test_what_needs_more_than_a_byte_a_pixel_is_refused_with_the_reason():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(SettingError, match="vvc cannot encode an image of 64x64 .* one byte a pix"):
        load_codec("vvc:q=100,preset=faster").encode(noise)
