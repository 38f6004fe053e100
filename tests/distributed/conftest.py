"""Two nodes of one core each on this machine, by Ray's own means."""

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'salcompress[ray]'")


@pytest.fixture(scope="session")
def two_nodes():
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()
