"""Shapes and types are checked at run time in every test."""

import os
import sys
from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

hook = install_import_hook("auricle", "beartype.beartype")


@pytest.fixture
def run(capsys):
    """The command line: its exit code, what it printed, and what it said on stderr."""
    from auricle.cli import main  # behind the hook

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")  # a cluster does not outlive that this process begins another one
def cluster() -> Iterator[str]:
    """The address of a Ray cluster: two machines of a core each, played by processes of this one."""
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
