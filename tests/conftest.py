"""Shared data of the tests: drawn scenes always, real COCO images where they lie beside the
checkout.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from salcompress.data.coco import CocoDataset, load_dataset
from salcompress.data.scenes import make_scene, write_scenes

os.environ.pop("SALCOMPRESS_WEIGHTS", None)  # weights of whoever runs the tests are no part of them
SHARED = Path(__file__).parents[2] / "shared"


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """Annotations of six scenes of 320x240."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), 6, seed=21)


@pytest.fixture(scope="session")
def scene_dataset(scenes) -> CocoDataset:
    return load_dataset(scenes.parent / "images", scenes)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A natural-looking picture of odd size, uint8 (203, 251, 3)."""
    return make_scene(22, 0, 203, 251).image


@pytest.fixture
def processes_without_gpus() -> None:
    """For tests in which Detectron2 launches several processes."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("where there are GPUs, Detectron2's launch wants one for each process")


@pytest.fixture
def one_thread():
    """This process computes on one thread, as a worker process does: sums of several threads may
    differ in their last digits.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def codec():
    """The learned codec with the shipped weights."""
    from salcompress.codecs.salient import SalientCodec

    return SalientCodec(0.4, device="cpu")


@pytest.fixture(scope="session")
def stream(codec, picture) -> bytes:
    """``picture`` by ``codec``."""
    return codec.encode(picture)


@pytest.fixture(scope="session")
def second_weights(tmp_path_factory) -> Path:
    """Weight file of a small random codec, alone in its folder."""
    import torch

    from salcompress.models.compression_model import CompressionModel, ModelConfig, save_model

    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        model = CompressionModel(ModelConfig(16, 16, 16, 8, 16))
    path = tmp_path_factory.mktemp("weights") / "second.safetensors"
    path.write_bytes(save_model(model))
    return path


@pytest.fixture
def known_second(second_weights, monkeypatch) -> Path:
    """``second_weights``, which may be called ``second`` within the test."""
    monkeypatch.setenv("SALCOMPRESS_WEIGHTS", str(second_weights.parent))
    return second_weights


@pytest.fixture(scope="session")
def coco_val() -> Path:
    """Folder of 60 COCO val2017 images with their annotations."""
    folder = SHARED / "data" / "coco_val"
    if not folder.is_dir():
        pytest.skip("needs shared/data/coco_val beside the checkout")
    return folder


class BlobDetector:
    """A weak but real detector without weights: boxes around saturated blobs. Fast and
    deterministic.
    """

    label = fingerprint = "blobs"

    def __call__(self, image):
        import cv2

        saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[:, :, 1]
        _, solid = cv2.threshold(cv2.GaussianBlur(saturation, (9, 9), 2), 0, 255, cv2.THRESH_OTSU)
        found = []
        for contour in cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
            box = [float(v) for v in cv2.boundingRect(contour)]
            if box[2] * box[3] >= 64:
                found += [
                    {
                        "category_id": c,
                        "bbox": box,
                        "score": min(1.0, box[2] * box[3] / image[:, :, 0].size),
                    }
                    for c in (1, 4)
                ]
        return found


@pytest.fixture(scope="session")
def fast_detector() -> BlobDetector:
    return BlobDetector()
