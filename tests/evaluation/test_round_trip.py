"""Images through codecs: what is measured, and what is computed once."""

import numpy as np
import pytest

from salcompress.codecs import CachedCodec, load_codec, load_codecs
from salcompress.codecs.salient import SalientCodec
from salcompress.errors import CorruptError, DataError
from salcompress.evaluation.round_trip import code, code_settings, compared
from salcompress.image import read_image
from salcompress.metrics.perceptual import perceptual_distance
from salcompress.saliency.functions import classical_saliency


def code_image(codec, path):
    (coded,) = code_settings([codec], path).coded
    return coded


def test_num_bits_is_the_length_of_the_stream(scene_dataset):
    path = scene_dataset.images[0].path
    codec = load_codec("jpeg:q=20")
    coded = code_image(codec, path)
    assert coded.num_bits == 8 * len(codec.encode(read_image(path)))
    assert coded.psnr == pytest.approx(27, abs=8) and 0.5 < coded.ms_ssim < 1
    assert coded.encode_s > 0 and coded.decode_s > 0


def test_identity_costs_the_source_file_and_changes_nothing(scene_dataset):
    path = scene_dataset.images[0].path
    coded = code_image(load_codec("none"), path)
    assert coded.num_bits == 8 * path.stat().st_size
    assert coded.psnr is None and coded.ms_ssim == pytest.approx(1, abs=1e-6)  # float32 sums
    assert np.array_equal(coded.decoded, read_image(path))
    assert coded.encode_s is None and coded.decode_s is None  # nothing was coded
    assert (
        code(load_codec("none"), coded.decoded).num_bits
        == 8 * len(b"P6 320 240 255\n") + 24 * 320 * 240
    )  # without a file


def test_time_of_a_cached_stream_is_not_a_measurement(tmp_path, scene_dataset):
    codec = CachedCodec(load_codec("webp:q=20"), tmp_path)
    first, again = (code_image(codec, scene_dataset.images[0].path) for _ in range(2))
    assert first.encode_s > 0 and again.encode_s is None and again.num_bits == first.num_bits


def test_settings_of_an_image_are_as_if_each_were_alone(scene_dataset):
    path = scene_dataset.images[0].path
    codecs = load_codecs("none", "jpeg:q=5,50", "png", "salient:q=0.1,0.6,device=cpu")
    together = code_settings(codecs, path).coded
    for codec, coded in zip(codecs, together, strict=True):
        alone = code_image(codec, path)
        assert np.array_equal(coded.decoded, alone.decoded)
        for name in ("num_bits", "psnr", "ms_ssim", "perceptual"):
            assert getattr(coded, name) == getattr(alone, name)
        assert (coded.maps is None) == (alone.maps is None)
        if coded.maps is not None:
            assert all(np.array_equal(a, b) for a, b in zip(coded.maps, alone.maps))


def test_the_saliency_of_an_image_is_computed_once_and_counts_in_every_time(scene_dataset):
    calls = []

    def slow_saliency(image):
        import time

        calls.append(image.shape)
        time.sleep(0.3)
        return classical_saliency(image)

    codecs = [SalientCodec(q, saliency=slow_saliency, device="cpu") for q in (0, 0.3)]
    for image in scene_dataset.images[:2]:
        coded = code_settings(codecs, image.path).coded
        # times do not depend on which setting came first
        assert all(c.encode_s > 0.3 for c in coded)
    assert len(calls) == 2


def test_another_image_has_another_saliency(picture):
    codec = SalientCodec(0.3, saliency=classical_saliency, device="cpu")
    turned = np.ascontiguousarray(picture[::-1, ::-1])
    for image in (picture, turned):
        assert code(codec, image).num_bits == 8 * len(codec.encode(image))


def test_distances_of_several_versions_are_those_of_each(picture):
    codecs = load_codecs("jpeg:q=5,50", "png")
    coded = compared([code(codec, picture) for codec in codecs], picture)
    for c in coded[:2]:
        assert c.perceptual == perceptual_distance(picture, c.decoded) > 0
    assert coded[2].perceptual == 0
    assert all(c.perceptual is None for c in compared(coded[:0], picture, False))
    without = compared([code(codecs[0], picture)], picture, with_perceptual=False)
    assert without[0].perceptual is None and without[0].psnr == coded[0].psnr


def test_a_setting_that_cannot_code_an_image_leaves_the_others(tmp_path):
    from salcompress.image import encode_image

    path = tmp_path / "wide.png"
    path.write_bytes(encode_image(np.zeros((1, 17000, 3), np.uint8), "PNG"))
    webp, png = code_settings(load_codecs("webp:q=10", "png"), path).coded
    assert isinstance(webp, DataError) and "wide.png" in str(webp) and png.num_bits > 0


def test_an_image_that_cannot_be_read_has_an_error_at_every_setting(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    codecs = load_codecs("jpeg:q=5", "png")
    damaged = code_settings(codecs, tmp_path / "bad.png")
    assert len(damaged.source_digest) == 16
    missing = code_settings(codecs, tmp_path / "missing.png")
    assert missing.source_digest is None
    for found, name in ((damaged, "bad.png"), (missing, "missing.png")):
        assert len(found.coded) == 2
        assert all(isinstance(c, DataError) and name in str(c) for c in found.coded)


class CroppingCodec(type(load_codec("png"))):
    def decode(self, stream):
        return super().decode(stream)[1:]


def test_a_codec_that_changes_the_size_is_refused(picture):
    with pytest.raises(CorruptError, match="gave back an image of shape"):
        code(CroppingCodec(), picture)
