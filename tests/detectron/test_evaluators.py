"""The pooled rate, from one process or from several."""

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.engine import launch
from detectron2.evaluation import DatasetEvaluators
from detectron2.utils import comm

from salcompress.detectron import CompressionEvaluator
from salcompress.detectron.processes import run_and_leave
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


def evaluate_share(path, num_processes):
    evaluator = CompressionEvaluator()
    evaluator.reset()
    for entry in INPUTS[comm.get_rank() :: num_processes]:
        evaluator.process([entry], [{}])
    result = evaluator.evaluate()
    if comm.is_main_process():
        with open(path, "w") as file:
            file.write(repr(result))
    else:
        assert result == {}


@pytest.mark.usefixtures("processes_without_gpus")
def test_rate_is_pooled_and_sharding_changes_nothing(tmp_path):
    for num_processes in (1, 2):
        launch(
            run_and_leave,
            num_processes,
            dist_url="auto",
            args=(evaluate_share, tmp_path / str(num_processes), num_processes),
        )
    alone, sharded = (eval((tmp_path / str(n)).read_text())["compression"] for n in (1, 2))
    assert alone["bpp"] == 1500 / (20 * (10 + 11 + 12 + 13 + 14)) and alone["num_images"] == 5
    assert alone["bpp_mean"] == pytest.approx(
        sum(100 * (k + 1) / (20 * (10 + k)) for k in range(5)) / 5
    )
    assert sharded["bpp"] == alone["bpp"] and sharded["num_images"] == 5
    assert sharded["bpp_mean"] == pytest.approx(
        alone["bpp_mean"], rel=1e-12
    )  # summed in another order


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
