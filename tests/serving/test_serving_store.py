"""Whole files or none, checked when read, least used first out."""

import errno
import hashlib
import os

import pytest

from auricle.errors import OptionError
from auricle.serving import store as module
from auricle.serving.store import Store


def key(name, kind="tokens-0"):
    return f"{hashlib.sha256(name.encode()).hexdigest()}.{kind}"


def put(store, name, data=b"12345", kind="tokens-0"):
    return store.put(key(name, kind), lambda path: path.write_bytes(data))


def read(store, name, kind="tokens-0"):
    with store.lend(key(name, kind)) as path:
        return path and path.read_bytes()


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path, 12)
    yield opened
    opened.close()


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_what_was_put_is_found_and_after_a_restart_too(store, tmp_path):
    assert read(store, "a") is None
    assert put(store, "a") is True
    assert read(store, "a") == b"12345"
    assert put(store, "a", b"new") is True
    assert (read(store, "a"), store.nbytes) == (b"new", 3)
    store.close()
    again = Store(tmp_path, 12)
    assert (read(again, "a"), again.nbytes) == (b"new", 3)
    assert len(kept(tmp_path)) == 1
    again.close()


def test_the_least_recently_used_goes_first_also_after_a_restart(store, tmp_path):
    put(store, "a"), put(store, "b")
    for age, name in ((30, "b"), (20, "a")):
        (path,) = tmp_path.glob(f"{key(name)}*")
        os.utime(path, (0, path.stat().st_mtime - age))
    assert read(store, "a")
    put(store, "c")
    assert (read(store, "b"), store.nbytes) == (None, 10)
    assert read(store, "a")
    store.close()
    for age, name in ((30, "a"), (20, "c")):
        (path,) = tmp_path.glob(f"{key(name)}*")
        os.utime(path, (0, path.stat().st_mtime - age))
    again = Store(tmp_path, 12)
    put(again, "d")
    assert [bool(read(again, name)) for name in "abcd"] == [False, False, True, True]
    again.close()
    smaller = Store(tmp_path, 5)
    assert smaller.nbytes == 5
    smaller.close()


def test_what_is_larger_than_the_store_moves_nothing_out(store, tmp_path):
    put(store, "a")
    assert put(store, "b", b"1" * 13) is False
    assert read(store, "a")
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("damage", [b"", b"1234", b"12346", b"123456"])
def test_a_damaged_file_is_dropped(store, tmp_path, damage):
    put(store, "a")
    (path,) = tmp_path.glob(f"{key('a')}*")
    path.write_bytes(damage)
    assert read(store, "a") is None
    assert kept(tmp_path) == []
    put(store, "a")
    assert read(store, "a") == b"12345"


def test_a_removed_file_is_none(store, tmp_path):
    put(store, "a")
    next(tmp_path.glob(f"{key('a')}*")).unlink()
    assert read(store, "a") is None
    assert store.nbytes == 0


def test_what_is_lent_stays_when_it_is_dropped(store, tmp_path):
    put(store, "a")
    with store.lend(key("a")) as path:
        put(store, "b"), put(store, "c"), put(store, "d")
        assert not store.has(key("a"))
        assert path.read_bytes() == b"12345"
    assert len(kept(tmp_path)) == 2


def test_where_there_are_no_links_it_is_copied(store, monkeypatch):
    monkeypatch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    put(store, "a")
    assert read(store, "a") == b"12345"


@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_a_full_disk_changes_nothing(store, tmp_path, monkeypatch, when):
    put(store, "a")

    def full(path):
        path.write_bytes(b"12")
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "renaming":
        monkeypatch.setattr(module.Path, "replace", lambda *_: full(tmp_path / "x"))
    with pytest.raises(OSError, match="No space"):
        store.put(key("b"), full if when == "writing" else lambda path: path.write_bytes(b"1"))
    (tmp_path / "x").unlink(missing_ok=True)
    monkeypatch.undo()
    assert len(kept(tmp_path)) == 1
    assert read(store, "a")


def test_what_a_killed_server_left_is_removed_and_nothing_else(store, tmp_path):
    put(store, "a")
    store.close()
    mine = ("letter.txt", "a.new", ".hidden", "0" * 64)
    for name in mine:
        (tmp_path / name).write_text("mine")
    left = (
        "1b4e28ba-2fa1-11d2-883f-0016d3cca427.new",
        ".1b4e28ba-2fa1-11d2-883f-0016d3cca427-x_1.new",
        "1b4e28ba-2fa1-11d2-883f-0016d3cca427.lent",
    )
    for name in left:
        (tmp_path / name).write_text("left")
    again = Store(tmp_path, 12)
    assert set(kept(tmp_path)) & set(left) == set()
    assert set(mine) <= set(kept(tmp_path))
    assert read(again, "a")
    again.close()


def test_a_folder_has_one_server(store, tmp_path):
    with pytest.raises(OptionError, match="Another server"):
        Store(tmp_path, 12)


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be used"):
        Store(tmp_path / "file", 12)


def test_use_counts_after_a_restart(store, tmp_path):
    put(store, "a"), put(store, "b")
    for age, name in ((30, "a"), (20, "b")):
        (path,) = tmp_path.glob(f"{key(name)}*")
        os.utime(path, (0, path.stat().st_mtime - age))
    assert read(store, "a")
    store.close()
    again = Store(tmp_path, 5)
    assert [bool(read(again, name)) for name in "ab"] == [True, False]
    again.close()
