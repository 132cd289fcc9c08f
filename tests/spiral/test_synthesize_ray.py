"""Voicing on a Ray cluster leaves the files that this machine would have written."""

import os
import shutil

import pytest

from auricle.errors import OptionError, SynthesisError
from auricle.spiral import synthesize as module
from auricle.spiral.schema import MultipleChoice, SpiralSample, Topic
from auricle.spiral.synthesize import synthesize_all
from auricle.synthesis.dialogue import Turn
from programs import needs_program

pytest.importorskip("ray", reason="needs the extra 'ray'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'synthesis'")
pytest.importorskip("pysbd", reason="needs the extra 'synthesis'")

CASTING = {"spk_1": "flite/slt", "spk_2": "flite/rms"}
KILLING = """#!/bin/sh
case "$*" in *Yarrow*) mkdir "{mark}" 2>/dev/null && kill -9 $PPID ;; esac
exec "{flite}" "$@"
"""


def sample(number):
    said = "The Yarrow is late." if number == 3 else f"Ferry {number} is late."
    turns = (Turn("spk_1", ("Good morning.", said)), Turn("spk_2", ("Really?",)))
    test = MultipleChoice("What is late?", ("A ferry", "A train"), 0)
    return SpiralSample(f"meeting_{number}", Topic("meeting", "Travel", "Ferries"), turns, said, test)


@needs_program("flite")
def test_the_files_are_the_local_ones_though_a_worker_is_killed(tmp_path, monkeypatch, capfd):
    """A worker is killed while it voices the fourth sample; the second one is there before."""
    samples = [sample(number) for number in range(6)]
    casting = {each.id: CASTING for each in samples}
    assert len(list(synthesize_all(samples, casting, 0, tmp_path / "local"))) == 6
    list(synthesize_all(samples[1:2], casting, 0, tmp_path / "ray"))
    (tmp_path / "bin").mkdir()
    killing = tmp_path / "bin/flite"
    killing.write_text(KILLING.format(mark=tmp_path / "killed", flite=shutil.which("flite")))
    killing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    done = list(synthesize_all(samples, casting, 0, module.Path("ray"), processes=2, ray="local"))
    assert (tmp_path / "killed").exists()
    assert sorted(done) == [f"meeting_{number}" for number in (0, 2, 3, 4, 5)]
    files = sorted(path.name for path in (tmp_path / "local/speech").iterdir())
    assert sorted(path.name for path in (tmp_path / "ray/speech").iterdir()) == files
    for name in files:
        assert (tmp_path / "ray/speech" / name).read_bytes() == (tmp_path / "local/speech" / name).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_a_machine_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "on_ray", lambda prepare, items, *_: map(prepare(1), items))
    monkeypatch.setattr(module.Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(OptionError, match="folder that all of them share"):
        list(synthesize_all([sample(0)], {"meeting_0": CASTING}, 0, tmp_path / "here", ray="auto"))


def test_a_worker_that_dies_again_and_again(tmp_path, monkeypatch):
    def die(*_):
        raise module.BrokenProcessPool("A worker died 3 times.")
        yield

    monkeypatch.setattr(module, "on_ray", die)
    with pytest.raises(SynthesisError, match="A process died"):
        list(synthesize_all([sample(0)], {"meeting_0": CASTING}, 0, tmp_path, ray="auto"))
