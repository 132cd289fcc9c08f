"""`auricle spiral`, step by step and at once: a scripted endpoint over real HTTP, tones for voices, fake ears."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
from chat_server import Raw, serve

from auricle import loading
from auricle.benchmarks.spiral import Spiral
from auricle.errors import DataError, OptionError
from auricle.spiral import check, synthesize
from auricle.spiral.build import begin, begin_with, samples_of, use_voices
from auricle.spiral.listening import Heard
from auricle.spiral.outline import load_items
from auricle.spiral.schema import from_json
from auricle.synthesis.base import Speech, Voice
from sets import spiral_record
from tiny_llama import TinyLlama

FILLER = "well then we pour the metal slowly and we let the gas do its quiet work inside"


def reply(body):
    """A good sample of the type that is asked for, each with words of its own."""
    prompt = body["messages"][0]["content"]
    lecture = "of a lecture" in prompt
    name = re.sub(r"\W+", " ", prompt.split('"')[1]).strip()
    said = [f"{FILLER} {name} {number}.".capitalize() for number in ("once", "twice", "later", "slowly", "again")]
    key = f"The {name} foam floated for eleven hundred days."
    turns = [{"speaker": "spk_1", "text": [*said, key]}, {"speaker": "spk_1" if lecture else "spk_2", "text": said}]
    choices = ["eleven hundred days", "nine hundred days", "four hundred days", "two hundred days"]
    test = {"question": f"How long did the {name} foam float?", "choices": choices, "correct_answer": choices[0]}
    return json.dumps({"transcript": turns, "original_key_sentence": key, "test_question": test})


@dataclass(frozen=True)
class Tone(Voice):
    def _speak_lines(self, lines, speed):
        seconds = [0.4 + 0.3 * len(line.split()) for line in lines]
        return [Speech(np.sin(np.arange(round(8000 * s)) / 8).astype(np.float32) * 0.1, 8000) for s in seconds]


@pytest.fixture
def rim(monkeypatch):
    """What would need voices, Whisper or a model; the ears hear one word in a hundred wrong."""
    monkeypatch.setattr(synthesize, "voice", lambda name, files: Tone(name, "male" if "rms" in name else "female"))
    monkeypatch.setattr(loading, "load", lambda *_, **__: TinyLlama())

    def listen(sample, folder):
        voiced = synthesize.Voiced.load(synthesize.paths(folder, sample.id)[1])
        words = len(sample.text.split())
        return Heard(sample.id, voiced.seconds, voiced.loudness, words, words // 100, "", {"DNSMOS P.808": 3.9})

    monkeypatch.setattr(check, "listen", listen)


VOICES = ("--voice", "flite/slt", "--voice", "flite/rms")


def test_build_runs_all_steps_and_a_second_one_repeats_none(rim, run, tmp_path):
    out = tmp_path / "set"
    with serve(reply) as server:
        common = ("spiral", "build", "--output", out, "--count", 4, "--llm", "m", "--endpoint", server.url, *VOICES)
        code, text, err = run(*common, "--model", "none")
        assert (code, err) == (0, "")
        assert len(server.bodies) == 4
        before = {path: path.stat().st_mtime_ns for path in (out / "speech").iterdir()}
        assert run(*common, "--model", "none")[0] == 0
        assert len(server.bodies) == 4
    assert before == {path: path.stat().st_mtime_ns for path in (out / "speech").iterdir()}
    assert "4 dialogues, 0 rejected" in text
    assert text.count("good") == 7
    assert "FAILED" not in text
    samples = list(Spiral(out / "package").samples())
    assert [sample.id for sample in samples] == [item.id for item in load_items(out / "outline.jsonl")]
    assert sorted(sample.correct for sample in samples) == [0, 1, 2, 3]
    assert all(sample.evidence for sample in samples)
    assert json.loads((out / "report.json").read_text())["passed"] is True


def test_the_steps_one_by_one(rim, run, tmp_path):
    out = ("--output", tmp_path / "set")
    assert run("spiral", "outline", *out, "--count", 2) == (0, f"2 samples to write in {tmp_path / 'set'}\n", "")
    with serve(reply) as server:
        assert (
            run("spiral", "dialogue", *out, "--llm", "m", "--endpoint", server.url)[1]
            == "2 dialogues, 0 rejected\n"
        )
    assert run("spiral", "synthesize", *out, *VOICES) == (0, "", "")
    code, text, _ = run("spiral", "check", *out, "--model", "none", "--json")
    assert code == 0
    assert json.loads(text)["samples"] == 2
    assert run("spiral", "package", *out)[1] == f"{tmp_path / 'set/package'}\n"


def test_a_set_that_fails_a_check_says_so_with_its_exit_code(rim, run, tmp_path, monkeypatch):
    out = ("--output", tmp_path / "set")
    run("spiral", "outline", *out, "--count", 2)
    with serve(reply) as server:
        run("spiral", "dialogue", *out, "--llm", "m", "--endpoint", server.url)
    run("spiral", "synthesize", *out, *VOICES)
    deaf = Heard("", 90.0, -23.0, 100, 60, "", {"DNSMOS P.808": 3.9})
    monkeypatch.setattr(check, "listen", lambda sample, folder: deaf)
    code, text, err = run("spiral", "check", *out, "--model", "none")
    assert (code, err) == (1, "")
    assert text.count("FAILED") == 2


def test_a_build_that_cannot_work_begins_nothing(run, tmp_path):
    out = ("spiral", "build", "--output", tmp_path / "set", "--count", 2)
    for more in (
        (),
        ("--llm", "m", "--model", "nothing"),
        ("--llm", "m", "--voice", "flite/slx", "--model", "none"),
    ):
        assert run(*out, *more)[0] == 2
        assert not (tmp_path / "set").exists()


def test_a_killed_build_goes_on(rim, run, tmp_path, monkeypatch):
    out = tmp_path / "set"
    spoken = []

    def stop(*given):
        if len(spoken) == 2:
            raise KeyboardInterrupt
        spoken.append(given)
        return voiced(*given)

    voiced = synthesize.synthesize
    with serve(reply) as server:
        common = ("spiral", "build", "--output", out, "--count", 4, "--llm", "m", "--endpoint", server.url, *VOICES)
        monkeypatch.setattr(synthesize, "synthesize", stop)
        assert run(*common, "--model", "none")[0] == 130
        assert len(list((out / "speech").glob("*.json"))) == 2
        assert not (out / "package").exists()
        monkeypatch.setattr(synthesize, "synthesize", voiced)
        assert run(*common, "--model", "none")[0] == 0
        assert len(server.bodies) == 4
    assert len(list(Spiral(out / "package").samples())) == 4


def test_given_transcripts_are_voiced_and_packaged(rim, run, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(spiral_record(f"set_{i}", i)) + "\n" for i in range(3)))
    out = tmp_path / "set"
    code, text, err = run("spiral", "voice", file, "--output", out, *VOICES, "--limit", 2)
    assert (code, text, err) == (0, f"{out / 'package'}\n", "")
    assert [sample.id for sample in samples_of(out)] == ["set_0", "set_1"]
    assert run("spiral", "voice", file, "--output", out, *VOICES)[0] == 2  # now three
    code, _, err = run("spiral", "voice", file, "--output", out, *VOICES, "--limit", 2, "--seed", 1)
    assert code == 2
    assert "seed 0" in err


def test_whatever_voices_does_so_on_a_cluster(rim, run, tmp_path, monkeypatch):
    asked = []

    def here(prepare, items, processes, address):
        asked.append((len(items), processes, address))
        yield from map(prepare(1), items)

    monkeypatch.setattr(synthesize, "on_ray", here)
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(spiral_record(f"set_{i}", i)) + "\n" for i in range(2)))
    more = (*VOICES, "--processes", 2, "--ray", "auto")
    assert run("spiral", "voice", file, "--output", tmp_path / "set", *more)[0] == 0
    assert len(list(Spiral(tmp_path / "set/package").samples())) == 2
    (tmp_path / "set/speech/set_1.wav").unlink()
    assert run("spiral", "synthesize", "--output", tmp_path / "set", *more) == (0, "", "")
    with serve(reply) as server:
        llm = ("--count", 2, "--llm", "m", "--endpoint", server.url, "--model", "none")
        run("spiral", "build", "--output", tmp_path / "built", *llm, *VOICES, "--ray", "local")
    assert asked == [(2, 2, "auto"), (1, 2, "auto"), (2, 1, "local")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dialogue", "--output", "x", "--llm", "m"), "has no outline"),
        (("dialogue", "--output", "x"), "give --llm"),
        (("synthesize", "--output", "x"), "holds no set"),
        (("package", "--output", "x"), "holds no set"),
        (("check", "--output", "x"), "holds no set"),
        (("voice", "none.jsonl", "--output", "x"), "cannot be read"),
        (("outline", "--output", "x", "--topics", "none.json"), "none.json"),
    ],
)
def test_a_step_without_the_one_before_is_one_sentence(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("spiral", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_fails_keeps_what_is_written(rim, run, tmp_path):
    out = ("--output", tmp_path / "set")
    run("spiral", "outline", *out, "--count", 3)
    asked = []

    def failing(body):
        asked.append(body)
        return reply(body) if len(asked) == 1 else Raw(401)

    with serve(failing) as server:
        common = ("spiral", "dialogue", *out, "--llm", "m", "--endpoint", server.url, "--concurrency", 1)
        code, _, err = run(*common)
    assert code == 2
    assert "401" in err
    assert len(list((tmp_path / "set/dialogues").glob("*.json"))) == 1


def test_a_folder_holds_one_set(tmp_path):
    begin(tmp_path / "a", 3, 0)
    assert begin(tmp_path / "a", 3, 0) == load_items(tmp_path / "a/outline.jsonl")
    with pytest.raises(OptionError, match="another outline of 3 samples"):
        begin(tmp_path / "a", 3, 1)
    given = (from_json(spiral_record("set_1")),)
    with pytest.raises(OptionError, match="another set"):
        begin_with(tmp_path / "a", given)
    begin_with(tmp_path / "b", given)
    begin_with(tmp_path / "b", given)
    with pytest.raises(OptionError, match="given transcripts"):
        begin(tmp_path / "b", 3, 0)
    assert samples_of(tmp_path / "b") == given
    with pytest.raises(DataError, match="no dialogues yet"):
        samples_of(tmp_path / "a")
    use_voices(tmp_path / "b", ["flite/slt"], 0)
    with pytest.raises(OptionError, match="flite/slt with seed 0"):
        use_voices(tmp_path / "b", ["flite/rms"], 0)
    (tmp_path / "b/voices.json").write_text("[]")
    with pytest.raises(DataError, match=r"voices.json"):
        use_voices(tmp_path / "b", ["flite/rms"], 0)
