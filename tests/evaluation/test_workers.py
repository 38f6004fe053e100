"""Images in worker processes are those of one process, in order."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from salcompress.codecs import load_codec
from salcompress.codecs.salient import SalientCodec
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.workers import CodingTask, coded_images


def test_workers_give_what_one_process_gives_in_order(tmp_path, scene_dataset, one_thread):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    codecs = [load_codec("jpeg:q=20"), load_codec("png")]
    tasks = [CodingTask(image.path, (1, 0)) for image in scene_dataset.images]
    tasks += [CodingTask(tmp_path / "bad.png", (0,)), CodingTask(tmp_path / "none.png", (0, 1))]
    results = []
    for workers in (0, 2):
        with coded_images(codecs, tasks, workers) as coded:
            results.append(list(coded))
    assert len(results[0]) == len(results[1]) == len(tasks)
    for task, ours, theirs in zip(tasks, *results):
        assert ours.source_digest == theirs.source_digest
        assert len(ours.coded) == len(theirs.coded) == len(task.settings)
        for a, b in zip(ours.coded, theirs.coded):
            if isinstance(a, DataError):
                assert str(a) == str(b) and task.path.name in str(a)
            else:
                assert np.array_equal(a.decoded, b.decoded)
                assert (a.num_bits, a.psnr, a.ms_ssim, a.perceptual) == (
                    b.num_bits,
                    b.psnr,
                    b.ms_ssim,
                    b.perceptual,
                )
    assert isinstance(results[0][-2].coded[0], DataError)


@pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason='needs the extra "codecs"'
)
def test_codecs_that_start_processes_work_in_workers(scene_dataset, one_thread):
    codecs = [load_codec("hevc:preset=ultrafast"), load_codec("vvc:preset=faster")]
    tasks = [CodingTask(image.path, (0, 1)) for image in scene_dataset.images[:2]]
    results = []
    for workers in (0, 2):
        with coded_images(codecs, tasks, workers) as coded:
            results.append([(c.num_bits, c.psnr) for image in coded for c in image.coded])
    assert len(results[0]) == 4 and results[0] == results[1]


class DyingCodec(type(load_codec("png"))):
    def encode(self, image):
        import os

        os._exit(9)


def test_a_worker_that_dies_is_reported(scene_dataset):
    tasks = [CodingTask(scene_dataset.images[0].path, (0,))]
    with (
        coded_images([DyingCodec()], tasks, 1) as coded,
        pytest.raises(DataError, match="a worker process died"),
    ):
        next(coded)


def test_negative_workers():
    with pytest.raises(SettingError, match="workers must be at least 0"), coded_images([], [], -1):
        pass


def test_a_codec_that_no_process_can_be_given_is_refused_with_the_cure():
    codec = SalientCodec(0.3, saliency=lambda image: image[:, :, 0] / 255, device="cpu")
    tasks = [CodingTask(Path("x.png"), (0,))]
    with (
        pytest.raises(SettingError, match="cannot be sent to worker processes.*use workers=0, or"),
        coded_images([codec], tasks, 1),
    ):
        pass
    with coded_images([codec], tasks, 0) as coded:  # here it serves
        assert "cannot read x.png" in str(next(coded).coded[0])
