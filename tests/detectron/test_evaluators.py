"""The rate beside AP; see test_processes for several processes."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.evaluation import DatasetEvaluators

from salcompress.detectron import CompressionEvaluator
from salcompress.errors import SettingError

INPUTS = [
    {
        "image_id": k,
        "file_name": f"{k}.jpg",
        "original_size": (10 + k, 20),
        "num_bits": 100 * (k + 1),
    }
    for k in range(5)
]


def rates(*sizes):
    """Figures of pictures that the model saw at these sizes; ``()`` says nothing."""
    evaluator = CompressionEvaluator()
    pictures = [torch.zeros(3, 20 + k, 40, dtype=torch.uint8) for k in range(len(sizes))]
    inputs = [
        entry | {"image": picture} | ({"seen_size": size} if size != () else {})
        for entry, picture, size in zip(INPUTS, pictures, sizes)
    ]
    evaluator.process(inputs, [{}] * len(inputs))
    return evaluator.evaluate()["compression"]


def test_the_rate_over_what_the_detector_saw_is_over_the_mapped_picture_unless_the_model_resizes():
    assert rates((), ())["bpp_detector"] == 300 / (20 * 40 + 21 * 40)
    assert rates((10, 10), ())["bpp_detector"] == 300 / (10 * 10 + 21 * 40)
    assert "bpp_detector" not in rates((), None)  # it does not say
    assert rates((), None)["bpp"] == 300 / (10 * 20 + 11 * 20)


def test_reset_forgets():
    evaluator = CompressionEvaluator()
    evaluator.process(INPUTS, [{}] * 5)
    evaluator.reset()
    evaluator.process(INPUTS[:1], [{}])
    assert DatasetEvaluators([evaluator]).evaluate()["compression"]["num_images"] == 1
    evaluator.reset()
    assert evaluator.evaluate() == {}


def test_pictures_of_another_mapper_are_refused():
    with pytest.raises(
        SettingError,
        match="needs pictures from CompressedDatasetMapper, CompressedLoader or CompressedDetector",
    ):
        CompressionEvaluator().process([{"image_id": 1}], [{}])
