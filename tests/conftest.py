"""Shapes and types are checked at run time in every test."""

import pytest
from jaxtyping import install_import_hook

from clusters import cluster as cluster

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
