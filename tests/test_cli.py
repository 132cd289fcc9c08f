import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle import loading
from auricle.audio import SAMPLE_RATE
from auricle.cli import show
from auricle.cli.models import TOKENS_PER_SECOND
from auricle.errors import WeightsError
from auricle.models.mini import assembly
from auricle.registry import MODELS, PRUNERS
from tiny_llama import TinyLlama

CHOICES = ("--choice", "a harbor", "--choice", "the mill", "--choice", "at home")


@pytest.fixture
def loads(monkeypatch):
    """Stands in for loading a model, and remembers what was asked for."""
    calls = []

    def load(name, processor=None, **options):
        calls.append((name, options))
        return TinyLlama()

    monkeypatch.setattr(loading, "load", load)
    return calls


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder; recordings lie elsewhere."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "meeting.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLE_RATE * 40), SAMPLE_RATE)
    return str(path)


def assert_one_sentence(code: int, out: str, err: str, *words: str) -> None:
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith((".\n", "?\n"))
    for word in words:
        assert word in err


# -- ask ---------------------------------------------------------------------------------------------------------


def test_the_package_can_be_run():
    done = subprocess.run([sys.executable, "-m", "auricle", "pruners"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "speechprune" in done.stdout


def test_ask_json_is_exactly_one_object(loads, run, recording):
    code, out, err = run("ask", recording, "Where?", *CHOICES, "--pruning-rate", 0.8, "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert set(found) == {
        "answer",
        "choice",
        "scores",
        "model",
        "pruner",
        "pruning_rate",
        "compression_ratio",
        "tokens",
        "kept_spans",
        "seconds",
    }
    assert found["answer"] == dict(zip("ABC", CHOICES[1::2], strict=True))[found["choice"]]
    assert found["scores"].keys() == {"A", "B", "C"}
    assert found["choice"] == max(found["scores"], key=found["scores"].get)
    assert (found["pruner"], found["pruning_rate"], found["model"]) == ("speechprune", 0.8, "tiny-llama")
    assert (found["tokens"]["audio"], found["tokens"]["kept"]) == (500, 75)
    kept = sum(end - start for start, end in found["kept_spans"])
    assert kept == pytest.approx(75 * 0.08, abs=0.1)
    assert all(value >= 0 for value in found["seconds"].values())


def test_ask_shows_answer_scores_what_was_kept_and_times(loads, run, recording):
    code, out, err = run("ask", recording, "Where?", *CHOICES)
    assert (code, err) == (0, "")
    (spans,) = (line.removeprefix("spans").split(" and ")[0] for line in out.splitlines() if line[:5] == "spans")
    assert spans.strip().split(", ") == sorted(spans.strip().split(", "))
    first, *rest = out.splitlines()
    assert first[0] in "ABC"
    assert [line.split()[0] for line in rest[:3]] == ["A", "B", "C"]
    for words in ("150 of 500 speech tokens", "of 40.0 s", "speechprune 0.6", "tiny-llama", "prefill", "decode"):
        assert words in out


def test_ask_without_choices_generates(loads, run, recording):
    code, out, _ = run("ask", recording, "Where?", "--max-new-tokens", 5, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["choice"], found["scores"]) == (None, None)


def test_ask_shows_an_answer_that_looks_like_markup_as_it_is(loads, run, recording, monkeypatch):
    monkeypatch.setattr(TinyLlama, "generate", lambda *args, **kwargs: "[red]the [/b] harbor[/] :smile:")
    code, out, err = run("ask", recording, "Where?")
    assert (code, err) == (0, "")
    assert out.startswith("[red]the [/b] harbor[/] :smile:\n")


@pytest.mark.parametrize("name", PRUNERS)
def test_ask_takes_every_pruner(loads, run, recording, name):
    code, out, _ = run("ask", recording, "Where?", *CHOICES, "--pruner", name, "--seed", 3, "--json")
    assert code == 0
    assert json.loads(out)["pruner"] == name


def test_a_seed_decides_what_random_methods_keep(loads, run, recording):
    def spans(seed):
        out = run("ask", recording, "Where?", *CHOICES, "--pruner", "random-pieces", "--seed", seed, "--json")[1]
        return json.loads(out)["kept_spans"]

    assert spans(1) == spans(1) != spans(2)


def test_no_prior_changes_the_scores(loads, run, recording):
    scores = [
        json.loads(run("ask", recording, "Where?", *CHOICES, option, "--json")[1])["scores"]
        for option in ("--prior", "--no-prior")
    ]
    assert scores[0] != scores[1]


def test_options_of_loading_are_passed_on(loads, run, recording):
    run(
        "ask", recording, "Where?", "-m", "me/mine", "--dtype", "bfloat16", "--device", "cpu", "--trust-remote-code"
    )
    run("ask", recording, "Where?")
    assert loads == [
        ("me/mine", {"dtype": "bfloat16", "device": "cpu", "trust_remote_code": True}),
        ("mini", {"dtype": None, "device": None}),
    ]


def test_ask_draws_a_picture(loads, run, recording, place):
    code, out, err = run("ask", recording, "Where?", *CHOICES, "--plot", "kept.png", "--json")
    assert (code, err) == (0, "")
    json.loads(out)
    assert [path.name for path in place.iterdir()] == ["kept.png"]


def test_an_answer_is_printed_even_if_the_picture_fails(loads, run, recording, place, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "kept.png")

    monkeypatch.setattr("auricle.plotting.save", full)
    code, out, err = run("ask", recording, "Where?", *CHOICES, "--plot", "kept.png", "--json")
    assert code == 2
    assert json.loads(out)["choice"]
    assert err == "error: No space left on device: 'kept.png'.\n"
    assert not list(place.iterdir())


# -- the other commands ------------------------------------------------------------------------------------------


def test_transcribe_shows_each_window_with_its_times(loads, run, recording, monkeypatch):
    monkeypatch.setattr(TinyLlama, "generate", lambda *args, **kwargs: "words [here]")
    code, out, err = run("transcribe", recording)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["0:00.00-0:30.00  words [here]", "0:30.00-0:40.00  words [here]"]
    found = json.loads(run("transcribe", recording, "--json")[1])
    assert found["text"] == "words [here] words [here]"
    assert found["segments"][1] == {"start": 30.0, "end": 40.0, "text": "words [here]"}


def test_profile_shows_the_papers_columns(loads, run, recording, place):
    code, out, err = run("profile", recording, "Where?", "--repeats", 1, "--plot", "costs.png")
    assert (code, err) == (0, "")
    assert "tiny-llama, 40.0 s of audio, cpu, float32" in out
    lines = [line.split() for line in out.splitlines()]
    methods = [(line[0], line[1]) for line in lines if line and line[0] in PRUNERS]
    assert [name for name, _ in methods] == ["full", "first30"] + ["speechprune"] * 4
    assert [rate for name, rate in methods if name == "speechprune"] == ["0.2", "0.4", "0.6", "0.8"]
    for column in ("TFLOPs", "prefill", "peak", "overhead", "speech"):
        assert column in out
    assert (place / "costs.png").exists()


def test_profile_json_holds_every_row(loads, run, recording):
    code, out, err = run("profile", recording, "Where?", "--repeats", 1, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found.keys() == {"model", "device", "dtype", "duration", "rows"}
    assert [row["speech_tokens"] for row in found["rows"]] == [500, 375, 300, 225, 150, 75]
    assert found["rows"][0]["prefill"].keys() == {"tflops", "seconds", "peak_memory"}


def test_profile_takes_pruners(loads, run, recording):
    given = ("--pruner", "fastv:layer=1,pruning_rate=0.8", "--pruner", "uniform")
    code, out, err = run("profile", recording, "Where?", "--repeats", 1, *given, "--json")
    assert (code, err) == (0, "")
    found = [(row["method"], row["pruning_rate"], row["speech_tokens"]) for row in json.loads(out)["rows"]]
    assert found == [("fastv", 0.8, 75), ("uniform", 0.6, 150)]


def test_pruners_are_listed_with_what_they_do(run):
    code, out, err = run("pruners")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(PRUNERS)
    assert all(len(line.split()) > 3 for line in out.splitlines())


def test_models_are_listed_with_their_rates(run, monkeypatch, tmp_path):
    assert TOKENS_PER_SECOND.keys() == MODELS.keys()
    monkeypatch.setattr(assembly, "is_assembled", lambda: False)
    assert "auricle models pull mini" in run("models", "list")[1]
    monkeypatch.setattr(assembly, "is_assembled", lambda: True)
    monkeypatch.setattr(assembly, "model_folder", lambda: tmp_path)
    code, out, err = run("models", "list")
    assert (code, err) == (0, "")
    assert str(tmp_path) in out
    assert all(name in out for name in MODELS)


def test_pull_and_path_print_the_folder(run, monkeypatch, tmp_path):
    seen = []

    def pull(progress):
        progress("a part", 0, 2)
        seen.append("pulled")
        return tmp_path

    monkeypatch.setattr(assembly, "pull", pull)
    monkeypatch.setattr(assembly, "model_folder", lambda: tmp_path)
    assert run("models", "pull", "mini") == (0, f"{tmp_path}\n", "")
    assert run("models", "path", "mini") == (0, f"{tmp_path}\n", "")
    assert seen == ["pulled"]


def test_version_and_help_need_no_model():
    for arguments, words in (
        (["--version"], "0."),
        (["--help"], "transcribe"),
        (["ask", "--help"], "--pruning-rate"),
        (["models", "--help"], "pull"),
    ):
        code = (
            f"import sys; from auricle.cli import main; code = main({arguments}); assert 'torch' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; sys.exit(code)"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_without_a_command_the_help_is_shown(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: auricle" in err


# -- errors ------------------------------------------------------------------------------------------------------


def silent(path: Path, seconds: float = 1.0, **options) -> Path:
    soundfile.write(path, np.zeros(round(seconds * SAMPLE_RATE), np.float32), SAMPLE_RATE, **options)
    return path


def bad_recording(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("These are words.\n")
    elif kind == "truncated":
        path.write_bytes(silent(path).read_bytes()[:-1000])
    elif kind == "no samples":
        silent(path, 0)
    elif kind == "nan":
        samples = np.zeros(SAMPLE_RATE, np.float32)
        samples[7] = np.nan
        soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    elif kind == "short":
        silent(path, 0.05)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no recording at"),
        ("empty", "0 bytes"),
        ("text", "no audio"),
        ("truncated", "truncated"),
        ("no samples", "0 samples"),
        ("nan", "NaN"),
        ("short", "50 ms"),
        ("folder", "is a folder"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "transcribe", "profile"])
def test_a_bad_recording_is_one_sentence(loads, run, place, tmp_path, command, kind, words):
    question = [] if command == "transcribe" else ["Where?"]
    plot = [] if command == "transcribe" else ["--plot", "picture.png"]
    outcome = run(command, bad_recording(kind, tmp_path), *question, *plot)
    assert_one_sentence(*outcome, words)
    assert not loads  # no model was loaded for it
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Where?", "--pruning-rate", "1.2"], ["pruning rate is 1.2", "0", "1"]),
        (["Where?", "--pruning-rate", "-0.1"], ["pruning rate is -0.1"]),
        (["Where?", "--pruning-rate", "nan"], ["pruning rate is nan"]),
        (["Where?", "--pruning-rate", "much"], ["--pruning-rate"]),
        (["Where?", "--pruner", "full", "--pruning-rate", "1.2"], ["pruning rate is 1.2"]),
        (["Where?", "--pruner", "speechprun"], ["no pruner 'speechprun'", "Did you mean 'speechprune'?"]),
        (["Where?", "--model", "mni"], ["no model 'mni'", "Did you mean 'mini'?"]),
        ([""], ["question is empty"]),
        (["  "], ["question is empty"]),
        (["Where?", "--choice", "one"], ["choices, given 1"]),
        (["Where?", "--choice", "one", "--choice", "one"], ["the same"]),
        (["Where?", "--max-new-tokens", "0"], ["--max-new-tokens"]),
        (["Where?", "--plot", "no/folder/kept.png"], ["no folder"]),
        (["Where?", "--plot", "kept.txt"], [".png"]),
        (["Where?", "--no-such-option"], ["--no-such-option"]),
        ([], ["QUESTION"]),
        (["Where?", "and?"], ["and?"]),
    ],
)
def test_a_bad_option_is_one_sentence(loads, run, recording, place, arguments, words):
    assert_one_sentence(*run("ask", recording, *arguments), *words)
    assert not loads
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    "arguments", [["asc"], ["models", "pull", "mimi"], ["models", "path", "mimi"], ["models", "push"], ["--what"]]
)
def test_an_unknown_command_or_name_is_one_sentence(run, arguments):
    assert_one_sentence(*run(*arguments))


def test_without_weights_it_says_what_to_do(run, recording, place, monkeypatch, tmp_path):
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    assert_one_sentence(*run("ask", recording, "Where?"), "auricle models pull mini")
    assert_one_sentence(*run("models", "path", "mini"), "auricle models pull mini")
    assert not (tmp_path / "cache").exists()
    assert not list(place.iterdir())


def test_a_cache_that_cannot_be_written_is_one_sentence(run, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "file" / "cache"))
    assert_one_sentence(*run("models", "pull", "mini"), "cannot be written", "AURICLE_CACHE")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WeightsError("The weights are damaged;\npull them again."), "The weights are damaged; pull them again."),
        (MemoryError(), "Out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Out of memory"),
        (PermissionError(13, "Permission denied", "/weights"), "Permission denied: '/weights'."),
        (OSError("odd"), "bug in auricle (OSError: odd)"),
        (KeyError("x"), "bug in auricle (KeyError: 'x')"),
    ],
)
def test_whatever_fails_inside_is_one_sentence(run, recording, monkeypatch, error, words):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(loading, "load", fail)
    assert_one_sentence(*run("ask", recording, "Where?"), words)


def test_an_interrupt_ends_with_130(run, recording, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load", interrupt)
    code, out, err = run("ask", recording, "Where?")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_with_debugging_the_traceback_is_there(run, tmp_path, monkeypatch):
    monkeypatch.setenv("AURICLE_DEBUG", "1")
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path))
    with pytest.raises(WeightsError):
        run("models", "path", "mini")


def test_a_reader_that_has_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -c 'import sys; from auricle.cli import main; sys.exit(main([\"pruners\"]))' | true; "
        'echo "${PIPESTATUS[0]}"',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert done.stdout.strip() != "2"
    assert done.stderr == ""


# -- what is shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0:00.00"),
        (9.996, "0:10.00"),
        (59.997, "1:00.00"),
        (61.25, "1:01.25"),
        (3599.999, "1:00:00.00"),
        (7384.5, "2:03:04.50"),
    ],
)
def test_the_clock(seconds, expected):
    assert show.clock(seconds) == expected


def test_progress_is_silent_where_stderr_is_no_terminal(capsys):
    with show.progress("Listening") as listen, show.status("Loading"):
        listen(1, 2)
        listen(2, 2, "something")
    assert capsys.readouterr() == ("", "")


def test_training_has_its_commands(run):
    code, out, err = run("train", "--help")
    assert (code, err) == (0, "")
    assert "align" in out
