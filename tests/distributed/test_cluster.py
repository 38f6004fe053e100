"""A cluster that cannot be used is named before any work."""

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'salcompress[ray]'")

import ray

from salcompress.distributed.cluster import cluster
from salcompress.errors import SettingError


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
