"""The rate beside AP; see test_processes for several processes."""

import pytest

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
