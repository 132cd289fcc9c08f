import json

import pytest

from auricle import loading, registry
from auricle.errors import DataError
from auricle.evaluation.compare import pareto, points, section, write
from auricle.evaluation.log import Log, Run, read
from auricle.evaluation.report import result
from evaluation.records import record
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
    found = {point.method: point for point in points(tuple(read(folder)))}
    assert "text-free" not in found
    assert list(found) == ["full", "a 0.6", "b 0.6", "b 0.8", "a 0.8", "c 0.9", "d 0.9"]
    # `full` is beaten by what is as right with fewer tokens; equals beat neither one another.
    assert [name for name, point in found.items() if point.best] == ["a 0.6", "b 0.8", "c 0.9", "d 0.9"]
    assert found["b 0.8"].tokens == 20
    assert found["b 0.8"].kept == pytest.approx(0.2)
    assert found["b 0.8"].recall.value == pytest.approx(0.2)
    assert found["b 0.8"].accuracy.value == pytest.approx(0.8)
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
    found = points(tuple(read(folder)))
    (axes,) = pareto(found, 0.25).axes
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
