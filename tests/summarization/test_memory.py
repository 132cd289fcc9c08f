"""A memory: saving and loading changes nothing, and a crafted file does no harm."""

import json
import pickle
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from auricle.errors import MemoryFileError
from auricle.key_values import Pairs
from auricle.summarization.format import FORMAT, is_memory
from auricle.summarization.memory import About, Memory

ABOUT = About("auricle-mini", "ab12", "cd34", 12.5, 40, 8, (1, 2, 3))


def memory(dtype=torch.float32):
    keys, values = torch.randn(2, 3, 2, 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    return Memory(Pairs(keys, values), torch.rand(5, 2), ABOUT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saving_and_loading_changes_nothing(tmp_path, dtype):
    given = memory(dtype)
    given.save(tmp_path / "below" / "one.memory")
    found = Memory.load(tmp_path / "below" / "one.memory")
    assert found.about == given.about
    assert is_memory(tmp_path / "below" / "one.memory")
    for name in ("keys", "values"):
        assert getattr(found.pairs, name).dtype == dtype
        assert torch.equal(getattr(found.pairs, name), getattr(given.pairs, name))
    assert torch.equal(found.times, given.times)
    assert len(found) == 5
    assert found.nbytes == 2 * 3 * 2 * 5 * 4 * given.pairs.keys.itemsize


def tampered(path, about=None, tensors=None, form=FORMAT):
    memory().save(path)
    given = load_file(path) | (tensors or {})
    said = asdict(ABOUT) | (about or {})
    save_file({k: v for k, v in given.items() if v is not None}, path, {"format": form, "about": json.dumps(said)})


@pytest.mark.parametrize(
    "changes",
    [
        {"form": "auricle memory 2"},
        {"about": {"prefix": ["a"]}},
        {"about": {"prefix": 3}},
        {"about": {"weights": 3}},
        {"about": {"duration": "long"}},
        {"about": {"duration": "12.5"}},
        {"about": {"duration": True}},
        {"about": {"duration": -0.5}},
        {"about": {"duration": float("nan")}},
        {"about": {"duration": float("inf")}},
        {"about": {"duration": 10**400}},
        {"about": {"compression_ratio": 0}},
        {"about": {"speech_tokens": -1}},
        {"about": {"prefix": [1, -2]}},
        {"about": {"more": 1}},
        {"about": {"speech_tokens": True}},
        {"tensors": {"times": None}},
        {"tensors": {"times": torch.full((5, 2), torch.nan)}},
        {"tensors": {"times": torch.full((5, 2), torch.inf)}},
        {"tensors": {"times": torch.full((5, 2), -1.0)}},
    ],
    ids=str,
)
def test_a_crafted_file_is_refused(tmp_path, changes):
    tampered(tmp_path / "one.memory", **changes)
    with pytest.raises(MemoryFileError, match="auricle summarize"):
        Memory.load(tmp_path / "one.memory")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"keys": torch.zeros(3, 2), "values": torch.zeros(3, 2)}, r"have the shapes \(3, 2\), \(3, 2\), \(5, 2\)"),
        ({"keys": torch.zeros(3, 2, 5), "values": torch.zeros(3, 2, 5)}, "have the shapes"),
        ({"values": torch.zeros(3, 2, 4, 4)}, "have the shapes"),
        ({"values": torch.zeros(3, 1, 5, 4)}, "have the shapes"),
        ({"times": torch.zeros(4, 2)}, "have the shapes"),
        ({"keys": torch.zeros(3, 2, 5, 4, dtype=torch.int8)}, "no floating-point numbers"),
        ({"values": torch.zeros(3, 2, 5, 4, dtype=torch.int8)}, "no floating-point numbers"),
        ({"times": torch.zeros(5, 2, dtype=torch.long)}, "no floating-point numbers"),
    ],
)
def test_crafted_tensors_are_refused_for_what_they_are(tmp_path, tensors, words):
    """The words tell our check from the types that only tests check at run time."""
    tampered(tmp_path / "one.memory", tensors=tensors)
    with pytest.raises(MemoryFileError, match=words):
        Memory.load(tmp_path / "one.memory")


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("content", [b"", b"no", pickle.dumps(Evil()), b"\xff" * 100, None])
def test_what_is_no_memory_is_refused_and_not_run(tmp_path, content, capsys):
    if content is not None:
        (tmp_path / "one.memory").write_bytes(content)
    assert not is_memory(tmp_path / "one.memory")
    with pytest.raises(MemoryFileError):
        Memory.load(tmp_path / "one.memory")
    assert not capsys.readouterr().out


def test_pairs_are_joined_and_selected():
    one = memory().pairs
    both = one + one
    assert len(both) == 10
    kept = both.select(torch.arange(10) % 5 == 1)
    assert torch.equal(kept.keys, one.keys[:, :, [1, 1]])
    assert replace(memory(), pairs=kept).nbytes == kept.nbytes
