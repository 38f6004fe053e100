"""Laws of every codec, and how one is named."""

import importlib.util
import pickle
import shutil

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features

from salcompress.codecs import CODECS, load_codec, load_codecs, option_table, with_cache
from salcompress.codecs import compressai as compressai_codec
from salcompress.codecs.classical import Jpeg2000Codec, JpegCodec
from salcompress.codecs.salient import WEIGHTS
from salcompress.errors import (
    BitstreamError,
    CodecUnavailableError,
    CorruptError,
    SettingError,
    TruncatedError,
)
from salcompress.metrics.psnr_ssim import psnr

SPECS = (
    "jpeg:q=30",
    "jpeg2000:bpp=0.5",
    "webp:q=30",
    "avif:q=30,speed=10",
    "png",
    "salient:q=0.4,device=cpu",
    "none",
)
BY_FFMPEG = ("jxl:q=30", "hevc:q=40,preset=ultrafast", "vvc:q=40,preset=faster")
if importlib.util.find_spec("pyjpegli"):
    SPECS += ("jpegli:q=30",)
if importlib.util.find_spec("imageio_ffmpeg"):
    SPECS += BY_FFMPEG


def test_all_codecs_are_tested():
    if not all(map(importlib.util.find_spec, ("pyjpegli", "imageio_ffmpeg"))):
        pytest.skip('needs the extra "codecs"')
    assert {spec.partition(":")[0] for spec in SPECS} == set(CODECS) - {
        "compressai"
    }  # which is for comparison, and has a test of its own


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99))
def test_shape_survives_any_size(spec, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    codec = load_codec(spec)
    decoded = codec.decode(codec.encode(image))
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    if spec in ("png", "none"):
        assert np.array_equal(decoded, image)


@pytest.mark.parametrize("spec", SPECS)
def test_encoding_is_deterministic_and_channels_stay_in_place(spec, picture):
    codec = load_codec(spec)
    stream = codec.encode(picture)
    assert stream == load_codec(spec).encode(picture)
    assert stream == pickle.loads(pickle.dumps(codec)).encode(picture)
    reddened = (picture * np.array([1, 0.3, 0.1])).astype(np.uint8)
    means = [image.mean((0, 1)) for image in (reddened, codec.decode(codec.encode(reddened)))]
    assert (
        np.abs(means[0] - means[1]).max() < 5
    )  # grey levels; swapped channels would be off by some 50


@pytest.mark.parametrize(
    "low, high",
    [
        ("jpeg:q=10", "jpeg:q=60"),
        ("jpeg2000:bpp=0.2", "jpeg2000:bpp=1.5"),
        ("webp:q=5", "webp:q=70"),
        ("avif:q=10", "avif:q=60"),
        ("jpeg:q=30,subsampling=420", "jpeg:q=30,subsampling=444"),
    ],
)
def test_a_higher_setting_costs_more_and_gives_more(low, high, picture):
    streams = [load_codec(spec).encode(picture) for spec in (low, high)]
    assert len(streams[0]) < len(streams[1])
    assert psnr(picture, load_codec(low).decode(streams[0])) < psnr(
        picture, load_codec(high).decode(streams[1])
    )


def test_jpeg2000_keeps_near_its_target(picture):
    bits = 8 * len(load_codec("jpeg2000:bpp=0.8").encode(picture))
    assert bits / picture[:, :, 0].size == pytest.approx(
        0.8, rel=0.05
    )  # whole truncation points and file headers


def test_jpeg2000_uses_its_colour_transform(picture):
    """At equal bytes JPEG 2000 without it lost 3 dB, and to JPEG; with it, it wins over JPEG at low
    rates (Taubman and Marcellin).
    """
    jpeg = load_codec("jpeg:q=10")
    stream = jpeg.encode(picture)
    rival = load_codec(f"jpeg2000:bpp={8 * len(stream) / picture[:, :, 0].size}")
    assert (
        psnr(picture, rival.decode(rival.encode(picture))) > psnr(picture, jpeg.decode(stream)) + 1
    )


@pytest.mark.parametrize("spec", SPECS)
def test_damaged_streams(spec, picture):
    codec = load_codec(spec)
    stream = codec.encode(picture)
    with pytest.raises(TruncatedError, match="empty|ends within its header"):
        codec.decode(b"")
    for keep in (1, 10, len(stream) // 2):
        with pytest.raises(BitstreamError, match="damaged|not a|ends within|holds"):
            codec.decode(stream[:keep])
    if spec != "none":
        with pytest.raises(CorruptError, match="not a .* (file|stream)|not a .salc"):
            codec.decode(b"GIF89a" + stream)


@pytest.mark.parametrize("spec", SPECS)
def test_flipped_bytes_give_an_image_or_the_right_error(spec, picture):
    codec, rng = load_codec(spec), np.random.default_rng(5)
    stream = codec.encode(picture[:60, :60])
    positions = [*range(min(120, len(stream))), *rng.integers(0, len(stream), 80)]
    for position in positions[:: 4 if spec in BY_FFMPEG else 1]:  # each starts a process
        damaged = bytearray(stream)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            assert (
                codec.decode(bytes(damaged)).dtype == np.uint8
            )  # these formats carry no checksum of their own
        except BitstreamError as error:
            assert str(error)


def test_a_stream_of_another_format_is_refused(picture):
    with pytest.raises(CorruptError, match="not a WEBP file"):
        load_codec("webp").decode(load_codec("jpeg").encode(picture))


def test_too_large_for_the_format():
    with pytest.raises(
        SettingError, match=r"webp cannot encode an image of 16384x1 .*limit of 16383"
    ):
        load_codec("webp").encode(np.zeros((1, 16384, 3), np.uint8))


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
@pytest.mark.parametrize("spec", SPECS)
def test_what_is_no_image_is_refused(spec, wrong):
    with pytest.raises(SettingError, match="image must"):
        load_codec(spec).encode(wrong)


def test_defaults_are_stated_in_setting_and_fingerprint():
    codec = load_codec("jpeg")
    assert codec.setting == "q=75,subsampling=420"
    assert codec.fingerprint.startswith("jpeg:q=75,subsampling=420@pillow-" + PIL.__version__)
    assert load_codec("avif:q=20").setting == "q=20,subsampling=420,speed=6"


def test_lists_give_every_combination_once():
    settings_found = [
        c.setting for c in load_codecs("jpeg:q=10,30,subsampling=420,444", "jpeg:q=30")
    ]
    assert settings_found == [f"q={q},subsampling={s}" for q in (10, 30) for s in (420, 444)]


@pytest.mark.parametrize(
    "spec, message",
    [
        (
            "jpg",
            "unknown codec 'jpg'; valid codecs: jpeg, jpeg2000, webp, avif, png, jpegli, "
            "jxl, hevc, vvc, salient, compressai, none",
        ),
        (
            "jpeg:quality=3",
            r"jpeg has no option 'quality'; valid options: q: quality, an integer from 1 to 100 "
            r"\(75 if not given\); subsampling: chroma subsampling, one of 420, 422, 444",
        ),
        ("jpeg:q=0", "an integer from 1 to 100, got '0'"),
        ("jpeg:q=30.5", "an integer from 1 to 100"),
        ("jpeg:q=nan", "an integer"),
        ("jpeg:subsampling=411", "one of 420, 422, 444"),
        ("jpeg2000:bpp=0", "a number above 0"),
        ("jpeg2000:bpp=nan", "a number above 0"),
        ("jpeg:30", "'30' is not option=value"),
        ("none:q=1", "none has no option 'q'"),
        ("jpeg:q=1,2", "gives 2 settings"),
    ],
)
def test_wrong_specifications_say_what_is_valid(spec, message):
    with pytest.raises(SettingError, match=message):
        load_codec(spec)


@pytest.mark.parametrize("wrong", [None, 3, ["jpeg"], JpegCodec(q=3)])
def test_what_is_no_specification(wrong):
    came = type(wrong).__name__
    with pytest.raises(SettingError, match=f"must be text such as 'jpeg:q=30', got {came}"):
        load_codec(wrong)


def test_a_class_takes_its_options_alone():
    with pytest.raises(SettingError, match="jpeg has no option 'quality'; valid options: q, sub"):
        JpegCodec(quality=3)
    with pytest.raises(SettingError, match=r"q \(quality\) must be an integer from 1 to 100, got"):
        JpegCodec(q=None)
    with pytest.raises(SettingError, match="must be a number above 0 and at most 24, got None"):
        Jpeg2000Codec(bpp=None)


@pytest.mark.parametrize("spec", SPECS)
def test_a_label_is_a_specification_of_the_same_codec(spec):
    codec = load_codec(spec)
    assert load_codec(codec.label).fingerprint == codec.fingerprint


def test_settings_that_differ_in_device_alone_are_two():
    """Their streams are one, so their fingerprint is; but a benchmark of devices needs both."""
    first, second = load_codecs("salient:q=0.3,device=cpu,cpu:0", "salient:device=cpu,q=.3")
    assert first.fingerprint == second.fingerprint
    assert (first.device, second.device) == ("cpu", "cpu:0")


def test_a_comma_in_the_path_of_weights(tmp_path):
    path = tmp_path / "a,b.safetensors"
    shutil.copy(WEIGHTS, path)
    codec = load_codec(f"salient:weights='{path}',q=0.3,device=cpu")
    assert codec.model_fingerprint == load_codec("salient:device=cpu").model_fingerprint
    assert load_codec(codec.label).fingerprint == codec.fingerprint
    with pytest.raises(SettingError, match="does not exist"):
        load_codec(f"salient:weights={path}")  # without quotes it is a list of two


def test_an_object_says_which_codec_and_setting_it_is(tmp_path):
    assert repr(load_codec("jpeg:q=30")) == "<JpegCodec jpeg:q=30,subsampling=420>"
    assert repr(load_codec("none")) == "<IdentityCodec none>"
    salient = load_codec("salient:q=0.3,device=cpu")
    assert repr(salient) == f"<SalientCodec {salient.label} on cpu>"
    cached = with_cache(load_codec("png"), tmp_path)
    assert repr(cached) == f"<CachedCodec of <PngCodec png:level=6> in {tmp_path}>"


def test_the_table_of_options_is_whole_and_true():
    """Every default is valid, and so says the option's own converter."""
    rows = {(row.codec, row.option): row for row in option_table()}
    assert {codec for codec, _ in rows} == set(CODECS)
    for name, codec in CODECS.items():
        for key, option in codec.OPTIONS.items():
            row = rows.pop((name, key))
            assert row.meaning and row.valid and row.default
            if option.default is not None:
                assert option.convert(row.default) == option.default
    assert list(rows) == [("none", "")]
    (quality,) = [row for row in option_table() if row[:2] == ("salient", "q")]
    assert quality[2:] == ("base quality", "a number from 0 to 1", "0.5")


def test_a_codec_that_this_pillow_lacks(monkeypatch):
    real = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "avif" and real(name))
    with pytest.raises(
        CodecUnavailableError, match="codec avif: this Pillow .* install Pillow >= 11.3"
    ):
        load_codec("avif:q=20")
    load_codec("webp")


def test_compressai_is_for_those_who_have_it(picture):
    try:
        import compressai  # noqa: F401
    except ImportError:
        with pytest.raises(
            CodecUnavailableError, match=r'needs CompressAI: pip install "salcompress\[bench\]"'
        ):
            load_codec("compressai:model=mbt2018")
        return
    codec = load_codec("compressai:model=bmshj2018-hyperprior,quality=1,weights=random")
    assert codec.decode(codec.encode(picture)).shape == picture.shape
    again = load_codec("compressai:model=bmshj2018-hyperprior,quality=1,weights=random")
    assert again.fingerprint == codec.fingerprint
    assert again.encode(picture) == codec.encode(picture)


def test_a_fingerprint_of_weights_is_of_their_content():
    """It was one for all random models, so that a cache gave another model's streams."""
    one, other = (torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)) for _ in "ab")
    assert compressai_codec._fingerprint_of(one) != compressai_codec._fingerprint_of(other)
    other.load_state_dict(one.state_dict())
    assert compressai_codec._fingerprint_of(one) == compressai_codec._fingerprint_of(other)
    other[1].num_batches_tracked += 1
    assert compressai_codec._fingerprint_of(one) != compressai_codec._fingerprint_of(other)
