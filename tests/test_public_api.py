import json
import subprocess
import sys
from pathlib import Path

import pytest

import auricle


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after `statement`."""
    code = (
        f"import json, sys; {statement}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_the_public_names_are_these():
    assert auricle.__all__ == sorted(auricle.__all__)
    assert auricle.__all__ == [
        "Answer",
        "AudioTokens",
        "AuricleError",
        "First30",
        "Full",
        "Pruner",
        "Query",
        "RandomCrop",
        "RandomPieces",
        "Recording",
        "Searchlight",
        "SpeechLM",
        "SpeechPrompt",
        "SpeechPrune",
        "Transcript",
        "Uniform",
        "__version__",
        "answer",
        "ask",
        "encode",
        "load",
        "load_audio",
        "profile",
        "pruner",
        "transcribe",
    ]


@pytest.mark.parametrize("name", auricle.__all__)
def test_every_public_name_is_what_it_says(name):
    value = getattr(auricle, name)
    if name != "__version__":
        assert value.__name__ == ("load" if name == "load_audio" else name)
        assert value.__doc__
    assert name in dir(auricle)


def test_type_checkers_see_the_same_names():
    source = Path(auricle.__file__).read_text(encoding="utf-8")
    checked = source[source.index("if TYPE_CHECKING:") : source.index("__all__")]
    for name in set(auricle.__all__) - {"__version__"}:
        assert name in checked.replace(",", " ").split()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        auricle.prune  # noqa: B018
    with pytest.raises(ImportError):
        from auricle import prune  # noqa: F401


@pytest.mark.parametrize(
    "statement",
    [
        "import auricle",
        "import auricle; auricle.AuricleError",
        "import auricle; auricle.load_audio",
        "import auricle.cli",
    ],
)
def test_light_names_load_neither_torch_nor_transformers(statement):
    assert not loaded_by(statement) & {"torch", "transformers", "matplotlib"}


def test_importing_changes_nothing():
    code = (
        "import logging, warnings, os; before = (dict(os.environ), list(warnings.filters), logging.root.level,"
        " list(logging.root.handlers)); import auricle; after = (dict(os.environ), list(warnings.filters),"
        " logging.root.level, list(logging.root.handlers)); assert before == after"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
