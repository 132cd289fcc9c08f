"""The README's examples run as they are printed."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auricle.cli.app import app
from auricle.models.mini import assembly

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(<!-- not run[^\n]*-->\n)?```(python|bash)\n(.*?)```", README, re.S)
PYTHON = [code for skipped, language, code in BLOCKS if language == "python" and not skipped]
COMMANDS = [
    line
    for skipped, language, code in BLOCKS
    if language == "bash" and not skipped
    for line in code.splitlines()
    if line.startswith("auricle ") and " pull " not in line
]

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not assembly.is_assembled(), reason="auricle-mini is not here: auricle models pull mini"),
]


def test_there_are_examples():
    assert len(PYTHON) >= 1
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("code", PYTHON)
def test_python(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
