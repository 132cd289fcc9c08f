"""A Ray cluster for tests: two machines of a core each, played by processes of this one."""

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Its address; whatever joins it leaves it running."""
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 1024**2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # as if the tests were installed there
        both = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        both.add_node(**machine)
    try:
        yield both.address
    finally:
        both.shutdown()
