"""A cluster that cannot be used is named before any work."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'salcompress[ray]'")

import ray

from salcompress.data.stored import StoredStreams
from salcompress.distributed.cluster import cluster
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import read_jsonl


def test_addresses_that_do_not_answer():
    if ray.is_initialized():
        pytest.skip("a cluster is joined already")
    no_answer = r"no Ray cluster answers at 127.0.0.1:1 .*ray start"
    with pytest.raises(SettingError, match=no_answer), cluster("127.0.0.1:1"):
        pass
    wrong = "must be local, auto, HOST:PORT"
    with pytest.raises(SettingError, match=wrong), cluster("somewhere"):
        pass


def test_another_version_on_a_node_is_refused(two_nodes, monkeypatch):
    monkeypatch.setattr("salcompress.distributed.cluster.__version__", "0.0.1")
    other = r"has salcompress .*, and this machine has 0.0.1"
    with pytest.raises(SettingError, match=other), cluster("auto"):
        pass


@pytest.mark.slow  # two clusters are started and stopped
def test_the_command_starts_a_cluster_of_its_own_and_relative_paths_mean_the_same(scenes, tmp_path):
    """``local`` starts one, whatever else runs here; its workers live in another folder."""
    (tmp_path / "images").symlink_to(scenes.parent / "images")
    (tmp_path / "detector.py").write_text(
        "def build():\n    return lambda image: []\n",
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    start = [sys.executable, "-m", "salcompress"]
    for arguments in (
        "compress --images images --codec jpeg:q=30 --out stored --images-per-shard 3",
        f"evaluate --images images --annotations {scenes} --codec jpeg:q=30 --out results "
        "--detector detector.py:build",
    ):
        done = subprocess.run(
            [*start, *arguments.split(), "--ray", "local"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert len(StoredStreams(tmp_path / "stored")) == 6
    rows = read_jsonl(tmp_path / "results" / "results.jsonl")
    assert rows[0].num_images == 6 and rows[0].bpp > 0
