"""Two processes give what one gives: rates, AP, rows of a sweep, and one trained model.

One launch of two processes does all of it, for starting them takes longer than the work.
"""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.engine import launch
from detectron2.utils import comm

from salcompress.detectron import CompressedDetector, CompressionEvaluator, CompressionTrainer
from salcompress.detectron import yaml_engine as engine
from salcompress.detectron.processes import run_and_leave
from salcompress.detectron.scenes_dataset import _drawn_once
from salcompress.evaluation.rate_point import read_jsonl
from tests.detectron.commands import SCENES, arguments, register_scenes

pytestmark = pytest.mark.slow  # the fixture starts two processes and trains in both

INPUTS = [
    {
        "image_id": k,
        "file_name": f"{k}.jpg",
        "original_size": (10 + k, 20),
        "num_bits": 100 * (k + 1),
    }
    for k in range(5)
]


def pooled_rates():
    """What the evaluator makes of this process's share."""
    evaluator = CompressionEvaluator()
    evaluator.reset()
    for entry in INPUTS[comm.get_rank() :: comm.get_world_size()]:
        evaluator.process([entry], [{}])
    return evaluator.evaluate()


def trained_weights(out, codec):
    """The sum of the weights after a step on this process's own pictures, and the quality levels
    that all processes drew.
    """
    trainer = CompressionTrainer(engine.setup(arguments(codec, out / codec, steps=1)))
    trainer.train()
    model = trainer.checkpointer.model
    levels = model.codec.cells_of_level.tolist() if isinstance(model, CompressedDetector) else []
    return [sum(value.double().sum().item() for value in model.parameters()), levels]


def work(out, annotations, weights):
    """What each process does; each leaves what it found."""
    out = Path(out)
    register_scenes(annotations)
    _drawn_once(out / "drawn", 3, seed=5)
    opts = ["MODEL.WEIGHTS", weights]
    found = {
        "rates": pooled_rates(),
        "results": engine.main(arguments("jpeg", out, "--eval-only", opts=opts)),
    }
    swept = [*opts, "SALCOMPRESS.SWEEP", "['jpeg:q=10', 'none']"]
    engine.main(arguments("jpeg", out, "--eval-only", opts=swept))
    if comm.get_world_size() > 1:
        for codec in ("salient_gpu", "salient_joint"):
            found[codec] = trained_weights(out, codec)
    (out / f"{comm.get_rank()}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, scenes, scenes_name, random_weights):
    """What one process left, and what two left."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("where there are GPUs, Detectron2's launch wants one for each process")
    found = []
    for count in (1, 2):
        found.append(tmp_path_factory.mktemp(f"by-{count}"))
        job = (work, str(found[-1]), str(scenes), random_weights)
        launch(run_and_leave, count, dist_url="auto", args=job)
    return found


def left_by(folder, rank=0):
    return json.loads((folder / f"{rank}.json").read_text())


def test_the_rate_is_pooled_over_all_images(folders):
    alone, shared = (left_by(folder)["rates"]["compression"] for folder in folders)
    assert left_by(folders[1], rank=1)["rates"] == {}
    assert alone["bpp"] == 1500 / (20 * (10 + 11 + 12 + 13 + 14)) and alone["num_images"] == 5
    mean = sum(100 * (k + 1) / (20 * (10 + k)) for k in range(5)) / 5
    assert alone["bpp_mean"] == pytest.approx(mean)
    assert (shared["bpp"], shared["num_images"]) == (alone["bpp"], 5)
    # summed in another order
    assert shared["bpp_mean"] == pytest.approx(alone["bpp_mean"], rel=1e-12)


def test_average_precision_is_that_of_one_process_digit_by_digit(folders):
    alone, shared = (left_by(folder)["results"] for folder in folders)
    for task in ("bbox", "segm"):
        np.testing.assert_equal(shared[task], alone[task])  # NaN equals itself
    assert shared["compression"]["bpp"] == alone["compression"]["bpp"]


def test_rows_of_a_sweep_are_those_of_one_process(folders):
    sweeps = [folder / "sweep" / SCENES for folder in folders]
    rows = [
        [row._replace(encode_s=None, decode_s=None) for row in read_jsonl(sweep / "results.jsonl")]
        for sweep in sweeps
    ]
    assert len(rows[0]) == 2 and rows[0] == rows[1]
    for sweep in sweeps:
        assert (sweep / "report.html").is_file() and not (sweep / "shares").exists()
    pictures = [{path.parent.name for path in sweep.glob("pictures/*/*.png")} for sweep in sweeps]
    # three spread over the data set, and those that lose detections
    assert pictures[0] == pictures[1] and 3 <= len(pictures[0]) <= 6


@pytest.mark.parametrize("codec", ["salient_gpu", "salient_joint"])
def test_two_processes_train_one_model(folders, codec):
    ours, theirs = (left_by(folders[1], rank)[codec] for rank in (0, 1))
    assert ours == theirs


def test_scenes_are_drawn_once(folders):
    alone, shared = (
        json.loads((folder / "drawn" / "instances.json").read_text()) for folder in folders
    )
    assert alone == shared and len(alone["images"]) == 3
