"""Images through codecs, here and in worker processes."""

import numpy as np
import pytest

from salcompress.codecs import CachedCodec, load_codec
from salcompress.errors import CorruptError, DataError, SettingError
from salcompress.evaluation.round_trip import code, code_image, coded_images
from salcompress.image import read_image


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


def test_workers_give_what_one_process_gives_in_order(tmp_path, scene_dataset):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    codecs = [load_codec("jpeg:q=20"), load_codec("png")]
    tasks = [(k, i.path) for k in (0, 1) for i in scene_dataset.images] + [
        (0, tmp_path / "bad.png")
    ]
    results = []
    for workers in (0, 2):
        with coded_images(codecs, tasks, workers) as coded:
            results.append(list(coded))
    for ours, theirs in zip(*results):
        if isinstance(ours, DataError):
            assert str(ours) == str(theirs) and "bad.png" in str(ours)
        else:
            assert np.array_equal(ours.decoded, theirs.decoded)
            assert (ours.num_bits, ours.psnr, ours.ms_ssim) == (
                theirs.num_bits,
                theirs.psnr,
                theirs.ms_ssim,
            )
    assert len(results[0]) == len(results[1]) == len(tasks) and isinstance(
        results[0][-1], DataError
    )


class DyingCodec(type(load_codec("png"))):
    def encode(self, image):
        import os

        os._exit(9)


def test_a_worker_that_dies_is_reported(scene_dataset):
    tasks = [(0, scene_dataset.images[0].path)]
    with (
        coded_images([DyingCodec()], tasks, 1) as coded,
        pytest.raises(DataError, match="a worker process died"),
    ):
        next(coded)


class CroppingCodec(type(load_codec("png"))):
    def decode(self, stream):
        return super().decode(stream)[1:]


def test_a_codec_that_changes_the_size_is_refused(picture):
    with pytest.raises(CorruptError, match="gave back an image of shape"):
        code(CroppingCodec(), picture)


def test_negative_workers():
    with pytest.raises(SettingError, match="workers must be at least 0"), coded_images([], [], -1):
        pass
