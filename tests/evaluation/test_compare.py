import json
from dataclasses import replace

import pytest

from auricle import loading, registry
from auricle.errors import DataError
from auricle.evaluation.compare import as_rows, comparisons, pareto, section, write
from auricle.evaluation.log import Log, Run
from auricle.evaluation.report import result
from evaluation.records import record, said
from sets import write_spiral
from tiny_llama import TinyLlama

# Method, rate, tokens kept of 100, right answers of 20.
ROWS = [
    ("full", None, 100, 18),
    ("text-free", None, 0, 5),
    ("a 0.6", 0.6, 40, 18),
    ("b 0.6", 0.6, 40, 12),
    ("a 0.8", 0.8, 20, 10),
    ("b 0.8", 0.8, 20, 16),
    ("c 0.9", 0.9, 10, 3),
    ("d 0.9", 0.9, 10, 3),
]


@pytest.fixture
def folder(tmp_path):
    with Log(tmp_path / "run", Run("fake", "spiral", "somewhere", "loglikelihood")) as log:
        for name, rate, kept, right in ROWS:
            for i in range(20):
                heard = {"audio_tokens": 100, "kept_tokens": kept, "recall": kept / 100} if kept else {}
                seconds = {"prune": 0.001 * i, "answer": 0.01 * kept + i}
                log.write(record(f"s{i}", name, i < right, pruning_rate=rate, seconds=seconds, **heard))
    return tmp_path / "run"


def test_who_is_worth_it(folder):
    (compared,) = comparisons(result(folder))
    found = {point.method: point for point in compared.points}
    assert "text-free" not in found
    assert list(found) == ["full", "a 0.6", "b 0.6", "b 0.8", "a 0.8", "c 0.9", "d 0.9"]
    # `full` is beaten by what is as right with fewer tokens; equals beat neither one another.
    assert [name for name, point in found.items() if point.best] == ["a 0.6", "b 0.8", "c 0.9", "d 0.9"]
    assert found["b 0.8"].tokens == 20
    assert found["b 0.8"].kept == pytest.approx(0.2)
    assert found["b 0.8"].recall.value == pytest.approx(0.2)
    assert found["b 0.8"].score.value == pytest.approx(0.8)
    assert found["b 0.8"].prune_seconds == pytest.approx(0.0095)
    assert found["b 0.8"].answer_seconds == pytest.approx(0.2 + 9.5)


def test_a_page_and_a_table(folder, tmp_path):
    made = write(result(folder), tmp_path / "out")
    rows = {row[0]: row for row in made.tables[0].rows}
    assert rows["a 0.6"][1:3] == ("0.400", "40")
    assert rows["a 0.6"][-3:] == ("9.5", "9900", "*")
    assert rows["b 0.6"][-1] == ""
    assert (tmp_path / "out/compare.md").read_text().startswith("## Methods compared: fake on spiral")
    assert "<svg" in (tmp_path / "out/compare.html").read_text()


def test_the_plot_has_a_line_a_method_and_the_front(folder):
    (compared,) = comparisons(result(folder))
    (axes,) = pareto(compared).axes
    labels = axes.get_legend_handles_labels()[1]
    assert set(labels) == {"full", "a", "b", "c", "d", "chance"}
    front = axes.lines[-1]
    assert list(front.get_xdata()) == [10, 10, 20, 40]
    assert list(front.get_ydata()) == pytest.approx([0.15, 0.15, 0.8, 0.9])


def test_nothing_to_compare(tmp_path):
    with Log(tmp_path, Run("fake", "spiral", "somewhere", "loglikelihood")) as log:
        log.write(record("s0", "text-free", True))
    with pytest.raises(DataError, match="nothing to compare"):
        section(result(tmp_path))


def test_the_command(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: TinyLlama())
    data = write_spiral(tmp_path / "set", 2, seconds=36.0)
    out = tmp_path / "out"
    code, text, err = run("compare", "spiral", "--data", data, "--output", out, "--pruning-rate", 0.8)
    assert (code, err) == (0, "")
    names = {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}
    assert {f"{name} 0.8" for name in registry.PRUNERS} - names == {"full 0.8", "first30 0.8"}
    assert {"full", "first30"} < names
    assert (out / "compare.html").exists()
    methods = ("--pruner", "searchlight:choices=false", "--pruner", "fastv:layer=1", "--pruning-rate", 0.5)
    more = ("compare", "spiral", "--data", data, "--output", out)
    code, text, err = run(*more, *methods, "--json")
    assert code == 0
    found = {point["method"]: point for point in json.loads(text)["points"]}
    assert found["fastv:layer=1 0.5"]["tokens"] == found["searchlight:choices=false 0.5"]["tokens"] == 188
    assert "visionzip 0.8" in found  # what the log holds stays in the comparison


def spoken(sample, method, text, kept, **fields):
    """Of LongSpeech's transcripts, whose figure is better where it is lower."""
    base = said(text, order=(), sample=sample, method=method, audio_tokens=100, kept_tokens=kept, **fields)
    return replace(base, choices=(), correct=-1, task="ASR", reference="red green blue grey")


def test_tasks_are_compared_one_by_one_and_errors_are_better_where_fewer(tmp_path):
    with Log(tmp_path, Run("fake", "longspeech", "somewhere", "generate")) as log:
        for i in range(4):
            log.write(spoken(f"s{i}", "full", "red green blue grey", 100))
            log.write(spoken(f"s{i}", "a 0.5", "red green blue", 50, pruning_rate=0.5))
            log.write(spoken(f"s{i}", "b 0.5", "red", 50, pruning_rate=0.5))
            log.write(spoken(f"s{i}", "c 0.5", "", 50, pruning_rate=0.5, error="It is too long."))
    (compared,) = comparisons(result(tmp_path))
    assert (compared.task, compared.figure, compared.higher) == ("ASR", "WER", False)
    found = {point.method: point for point in compared.points}
    assert found["a 0.5"].score.value == pytest.approx(25.0)
    assert list(found) == ["full", "a 0.5", "b 0.5"]
    assert [name for name, point in found.items() if point.best] == ["full", "a 0.5"]
    assert compared.levels == {"always ''": 100.0}
    (row,) = (row for row in as_rows([compared]) if row["method"] == "a 0.5")
    assert (row["task"], row["figure"], row["score"]["value"]) == ("ASR", "WER", pytest.approx(25.0))
    json.dumps(row, allow_nan=False)
    made = write(result(tmp_path), tmp_path / "out")
    assert [table.title for table in made.tables] == ["ASR", "Without an answer (counted as wrong)"]
    assert made.tables[0].rows[1][4].startswith("25.0")
    assert made.tables[1].rows == (("c 0.5", "4", "It is too long."),)
    (axes,) = pareto(compared).axes
    assert axes.get_ylim() == (0, 100)
    assert axes.get_title(loc="left") == "ASR: WER"


def test_answers_that_nobody_judged_have_no_figure(tmp_path):
    with Log(tmp_path, Run("fake", "longspeech", "somewhere", "generate")) as log:
        log.write(replace(spoken("s0", "full", "later", 100), task="Temporal_Relative_QA"))
    (compared,) = comparisons(result(tmp_path))
    assert (compared.points[0].score, compared.points[0].best) == (None, False)
    assert section(result(tmp_path)).plots == ()
    assert next(as_rows([compared]))["score"] is None
