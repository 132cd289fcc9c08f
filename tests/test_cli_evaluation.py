import json

import pytest

from auricle import loading
from auricle.evaluation import launch
from auricle.evaluation.log import read
from auricle.spiral.chat import LocalChat
from layouts import write_audiomarathon, write_longspeech
from programs import needs_program
from sets import write_spiral
from spiral.chat_server import serve
from tiny_llama import TinyLlama


@pytest.fixture
def loads(monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: TinyLlama())


@pytest.fixture
def data(tmp_path):
    return write_spiral(tmp_path / "set", 4, seconds=36.0)


def test_eval_score_and_report(loads, run, data, tmp_path):
    out = tmp_path / "out"
    methods = ("--pruner", "speechprune", "--pruner", "random-pieces", "--pruning-rate", 0.4)
    code, text, err = run("eval", "spiral", "--data", data, "--output", out, *methods, "--permute", 4)
    assert (code, err) == (0, "")
    assert "| speechprune 0.4 |" in text
    assert "| permuted | 0.250 | 0.250 | 0.250 | 0.250 |" in text
    records = list(read(out))
    assert len(records) == 4 * 6
    code, again, err = run("score", out)
    assert (code, again, err) == (0, text, "")
    found = json.loads(run("score", out, "--json")[1])
    assert [row["method"] for row in found["rows"]] == list(dict.fromkeys(record.method for record in records))
    assert found["run"]["benchmark"] == "spiral"
    code, paths, _ = run("report", out, out, "--output", tmp_path / "page")
    assert code == 0
    assert paths.split() == [str(tmp_path / "page/report.html"), str(tmp_path / "page/report.md")]
    assert (tmp_path / "page/report.html").read_text().count("<h2>") == 2


def test_eval_goes_on_with_the_rest(loads, run, data, tmp_path):
    out = tmp_path / "out"
    common = ("eval", "spiral", "--data", data, "--output", out, "--no-baselines", "--pruner", "uniform")
    run(*common, "--limit", 1)
    assert len(list(read(out))) == 1
    run(*common, "--json")
    assert len(list(read(out))) == 4
    code, stdout, err = run(*common, "--seed", 3)
    assert (code, stdout) == (2, "")
    assert "seed 0" in err


def test_generated_answers(loads, run, data, tmp_path):
    out = tmp_path / "out"
    common = ("eval", "spiral", "--data", data, "--output", out, "--no-baselines", "--pruner", "random-pieces")
    code, text, _ = run(*common, "--protocol", "generate", "--permute", 2, "--seed", 5)
    assert code == 0
    assert len(list(read(out))) == 8
    assert "choices in 2 orders, seed 5" in text
    assert "| method | answers | speech kept | accuracy | unparsed |" in text


def test_an_empty_set_is_refused(run, tmp_path):
    (tmp_path / "data.jsonl").write_text("")
    for command in (("eval", "spiral"), ("reproduce", "table1"), ("reproduce", "figure2")):
        code, _, err = run(*command, "--data", tmp_path, "--output", tmp_path / "x")
        assert code == 2
        assert "no samples" in err.lower()
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "spirl", "--output", "x"), "Did you mean 'spiral'"),
        (("eval", "spiral", "--output", "x"), "needs data"),
        (("eval", "spiral", "--output", "x", "--data", "nowhere"), "cannot be read"),
        (("eval", "spiral", "--output", "x", "--data", "nowhere", "--longer-than", 60), "no option longer_than"),
        (("eval", "spiral", "--output", "x", "--data", "SET", "--pruner", "speechprun"), "Did you mean"),
        (("eval", "spiral", "--output", "x", "--data", "SET", "--pruning-rate", 1.2), "1.2"),
        (("eval", "spiral", "--output", "x", "--data", "SET", "--model", "nothing"), "no model 'nothing'"),
        (("score", "nowhere"), "holds no run"),
        (("report", "nowhere"), "holds no run"),
        (("reproduce", "table2", "--data", "spiral", "--output", "x"), "BENCHMARK=PATH"),
        (("reproduce", "figure2", "--data", "SET", "--output", "x", "--sample", "none"), "no sample 'none'"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing(run, data, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*(data if each == "SET" else each for each in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert sorted(tmp_path.iterdir()) == before


def test_benchmarks_are_listed(run):
    code, out, _ = run("benchmarks")
    assert code == 0
    for name in ("spiral", "dream-tts", "cn-college-listen", "longspeech", "audiomarathon", "jsonl"):
        assert name in out


def test_reproduce_table1_and_figures(loads, run, data, tmp_path):
    out = tmp_path / "paper"
    code, text, err = run("reproduce", "table1", "--data", data, "--output", out / "1", "--repeats", 1)
    assert (code, err) == (0, "")
    assert "| SpeechPrune | 0.2 |" in text
    assert (out / "1/table1.md").read_text() == text.removesuffix("\n")
    code, text, err = run("reproduce", "figure3", "--data", data, "--output", out / "3")
    assert (code, err) == (0, "")
    assert (out / "3/figure3.png").stat().st_size > 1000
    code, text, err = run("reproduce", "figure2", "--data", data, "--output", out / "2", "--sample", "set_2")
    assert (code, err) == (0, "")
    assert (out / "2/figure2.svg").stat().st_size > 1000
    code, text, err = run("reproduce", "table2", "--data", f"spiral={data}", "--output", out / "4")
    assert (code, err) == (0, "")
    assert "| SpeechPrune 0.2 |" in text


def test_a_benchmark_of_several_tasks(loads, run, tmp_path):
    data = write_audiomarathon(tmp_path / "set")
    out = tmp_path / "out"
    common = ("eval", "audiomarathon", "--data", data, "--output", out, "--no-baselines", "--pruner", "full")
    code, text, err = run(*common, "--task", "SER", "--task", "SGR", "--limit", 2, "--protocol", "generate")
    assert (code, err) == (0, "")
    assert "| method | SER (macro F1) | SGR (weighted F1) | mean |" in text
    assert "Speech-XL (published)" in text
    assert len(list(read(out))) == 4
    code, again, _ = run("score", out, "--as-published")
    assert code == 0
    assert "| method | SER (F1, parsed only) | SGR (F1, parsed only) | mean |" in again
    rows = json.loads(run("score", out, "--json")[1])["rows"]
    assert [(row["task"], row["method"], row["main"]) for row in rows] == [
        ("SER", "full", "macro F1"),
        ("SGR", "full", "weighted F1"),
    ]
    assert (
        "best constant" in (tmp_path / run("report", out, "--output", tmp_path / "page")[1].split()[1]).read_text()
    )
    code, _, err = run(*common, "--task", "SERR")
    assert code == 2
    assert "no task 'SERR'. Did you mean 'SER'?" in err
    assert run("eval", "spiral", "--data", data, "--output", out, "--task", "x")[0] == 2


def test_open_answers_are_judged(loads, run, tmp_path):
    data = write_longspeech(tmp_path / "set")
    out = tmp_path / "out"
    common = ("eval", "longspeech", "--data", data, "--output", out, "--no-baselines", "--pruner", "uniform")
    code, text, err = run(*common, "--task", "Temporal_Relative_QA", "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    assert "| uniform 0.6 |  |" in text  # not judged yet
    with serve(lambda _: "PARTIALLY") as server:
        code, text, err = run("judge", out, "--llm", "big", "--endpoint", server.url)
    assert (code, err) == (0, "")
    assert "| uniform 0.6 | 0.0 (" in text
    assert len(server.bodies) == 2
    with serve(lambda _: "hm") as server:
        code, _, err = run("judge", out, "--llm", "other", "--endpoint", server.url)
    assert code == 0
    assert "gave no verdict on 2 of 2 answers" in err


def test_a_model_on_this_machine_judges(loads, run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    data = write_longspeech(tmp_path / "set", 1)
    run("eval", "longspeech", "--data", data, "--output", out, "--no-baselines", "--pruner", "uniform",
        "--task", "Temporal_Relative_QA", "--max-new-tokens", 4)  # fmt: skip
    asked = []
    monkeypatch.setattr(LocalChat, "reply", lambda self, messages, seed=0: asked.append(self) or "YES")
    code, text, _ = run("judge", out, "--llm", tmp_path / "model", "--local", "--json")
    assert code == 0
    assert json.loads(text)["rows"][0]["figures"]["St.A"]["value"] == 100
    assert (asked[0].name, asked[0].temperature) == (str(tmp_path / "model"), 0.0)


@needs_program("espeak-ng")
def test_a_set_like_a_benchmark_is_built_and_asked(loads, run, tmp_path):
    code, text, err = run(
        "benchmarks", "fixture", "longspeech", "-o", tmp_path / "set", "--samples", 2, "--scale", 0.05
    )
    assert (code, err) == (0, "")
    assert "auricle eval longspeech" in text
    common = ("--output", tmp_path / "out", "--no-baselines", "--pruner", "uniform", "--max-new-tokens", 4)
    code, text, err = run("eval", "longspeech", "--data", tmp_path / "set", *common)
    assert (code, err) == (0, "")
    assert "This is not LongSpeech" in text
    assert text.count("| uniform 0.6 |") == 9
    code, _, err = run("benchmarks", "fixture", "spiral", "-o", tmp_path / "set")
    assert code == 2
    assert "Available: longspeech, audiomarathon" in err


def test_eval_on_a_cluster(loads, run, data, tmp_path, monkeypatch):
    """The command hands the address on, and shows what the log then holds."""
    asked = []

    def here(prepare, items, processes, address, *, gpu):
        asked.append((processes, address))
        yield from map(prepare(1), items)

    monkeypatch.setattr(launch, "on_ray", here)
    common = (
        "eval",
        "spiral",
        "--data",
        data,
        "--output",
        tmp_path / "out",
        "--no-baselines",
        "--pruner",
        "uniform",
    )
    code, text, err = run(*common, "--processes", 3, "--ray", "auto")
    assert (code, err, asked) == (0, "", [(3, "auto")])
    assert len(list(read(tmp_path / "out"))) == 4
    assert run(*common)[:2] == (0, text)
    assert len(asked) == 1
