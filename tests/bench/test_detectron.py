"""The bench measures everything it names, in the processes it says, and its ratios are those of its
own timings. Not how fast anything is.
"""

import contextlib
import json
import statistics

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")

from salcompress.bench import scenes as bench_scenes
from salcompress.bench import stage as bench_stage
from salcompress.bench.detectron import run_bench
from salcompress.bench.settings import VARIANTS, BenchSettings, default_settings
from salcompress.bench.training import config_of
from salcompress.detectron.config import check_config
from salcompress.errors import OutputError, SettingError

TINY = {
    "codec": "salient:q=0.2,saliency=uniform",
    "batches": (2,),
    "images": 3,
    "images_per_step": 1,
    "min_size": 64,
    "repeat": 2,
    "steps": 1,
}


@pytest.fixture
def small_pictures(monkeypatch):
    monkeypatch.setattr(bench_scenes, "COCO_SIZES", {(64, 96): 1, (96, 64): 1})


@contextlib.contextmanager
def in_this_process(what):
    yield lambda function, *arguments: function(*arguments)


def test_of_the_stage(small_pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        bench_stage, "process_of_its_own", in_this_process
    )  # quicker; peak memory then is that of all tests so far
    settings = default_settings("cpu", **TINY)
    run_bench(["stage"], settings, tmp_path / "bench.json")
    found = json.loads((tmp_path / "bench.json").read_text())
    printed = capsys.readouterr().out.splitlines()
    assert (
        printed[0] == found["machine"]
        and "torch" in printed[0]
        and found["settings"]["images"] == 3
    )
    figures = found["stage"]
    assert [(f["real_streams"], f["batch"]) for f in figures] == [
        (True, 1),
        (True, 2),
        (False, 1),
        (False, 2),
    ]  # batch 1 comes in any case
    assert sum(line.startswith(("| real", "| counted")) for line in printed) == len(figures)
    for figure, single in zip(figures, [figures[0]] * 2 + [figures[2]] * 2):
        assert len(figure["seconds"]) == 2 and min(figure["seconds"]) > 0
        assert figure["images_per_s"] == pytest.approx(1 / statistics.median(figure["seconds"]))
        assert figure["ratio"] == pytest.approx(
            statistics.median(a / b for a, b in zip(figure["seconds"], single["seconds"]))
        )
        # memory that the codec needs may lie where what came before was freed
        assert -1 < figure["above_mib"] < figure["peak_mib"]


@pytest.mark.slow  # two processes that import Detectron2
def test_of_training(small_pictures, tmp_path, capsys):
    settings = default_settings("cpu", **TINY, variants=["gpu"])
    run_bench(["training"], settings, tmp_path / "bench.json")
    figures = json.loads((tmp_path / "bench.json").read_text())["training"]
    assert [f["variant"] for f in figures] == ["none", "gpu"]
    printed = capsys.readouterr().out
    for figure in figures:
        assert f"| {VARIANTS[figure['variant']]} |" in printed
        assert (
            figure["steps"] == [1, 1]
            and min(figure["seconds"]) > 0
            and figure["median_s"] == statistics.median(figure["seconds"])
        )
        assert figure["ratio"] == pytest.approx(
            statistics.median(a / b for a, b in zip(figure["seconds"], figures[0]["seconds"]))
        )
        assert figure["peak_mib"] > 0 and figure["above_mib"] == pytest.approx(
            figure["peak_mib"] - figures[0]["peak_mib"]
        )


def test_each_variant_has_the_codec_where_its_name_says():
    configs = {name: config_of(default_settings("cpu"), name).SALCOMPRESS for name in VARIANTS}
    assert [node.STAGE for node in configs.values()] == [
        "mapper",
        "mapper",
        "mapper",
        "gpu",
        "model",
        "model",
    ]
    assert [node.TRAIN_CODEC != "none" for node in configs.values()] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert (
        configs["codec"].MODEL.TRAINS == "codec" and configs["detector"].MODEL.TRAINS == "detector"
    )
    for name in VARIANTS:
        check_config(config_of(default_settings("cpu"), name))


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"codec": "jpeg:q=30"}, "codec must be the learned one without a device"),
        ({"codec": "salient:q=0.3,device=cpu"}, "codec must be the learned one without a device"),
        (
            {"variants": ("everywhere",)},
            "unknown variant 'everywhere'; valid: none, mapper, stored, gpu, codec, detector",
        ),
        ({"batches": (16,)}, "images must be at least the largest batch, 16; got 8"),
        ({"batches": (0,)}, "batches must be at least 1"),
        ({"repeat": 0}, "repeat must be positive, got 0"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(SettingError, match=message):
        BenchSettings(**{"device": "cpu"} | setting)


def test_what_cannot_be_done_is_said_before_anything_is_measured(tmp_path):
    with pytest.raises(SettingError, match="unknown bench part 'stages'; valid: stage, training"):
        run_bench(["stages"], default_settings("cpu"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run_bench([], default_settings("cpu"), tmp_path / "file" / "bench.json")
