"""Programs that tests can do without."""

import shutil

import pytest


def needs_program(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"the program {name} is not installed")
