import pytest

from auricle.evaluation.log import Log, Run
from auricle.evaluation.report import result
from auricle.profiling import profile
from auricle.reproduce import paper
from auricle.reproduce.tables import table1, table1_methods, table2, table2_methods
from evaluation.records import record
from fakes import noise
from tiny_llama import TinyLlama


def log_of(folder, methods, right, benchmark="spiral"):
    """12 samples; `right(i, name)` says who is right about which."""
    with Log(folder, Run("fake", benchmark, "", "loglikelihood")) as log:
        for i in range(12):
            log.write(
                *(
                    record(f"s{i}", each.name, right(i, each.name), pruning_rate=each.pruning_rate)
                    for each in methods
                )
            )
    return folder


@pytest.fixture(scope="module")
def costs():
    lm = TinyLlama()
    from auricle.asking import encode

    recording = encode(lm, noise(70.0), 16_000)
    return profile(lm, recording, lm.query("Where?"), repeats=1)


def test_table1_has_the_papers_rows_beside_its_figures(tmp_path, costs):
    def right(i, name):
        return i % 2 == 0 if name in ("first30", "random-pieces 0.2") else i % 3 == 0

    found = table1(result(log_of(tmp_path, table1_methods(), right)), costs)
    rows = {row[:2]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    expected = {("Original", ""), ("all windows", "")} | {
        (name, f"{rate:g}") for name in ("RAP", "RAC", "SpeechPrune") for rate in paper.RATES
    }
    assert set(rows) == expected
    assert rows["Original", ""]["accuracy %"].startswith("50.0 (")
    assert rows["Original", ""]["hard part %"].startswith("0.0 (")
    assert rows["RAP", "0.2"]["hard part %"].startswith("0.0 (")
    assert rows["SpeechPrune", "0.4"]["hard part %"].startswith("33.3 (")
    assert rows["SpeechPrune", "0.4"]["paper: accuracy %"] == "85.97"
    assert rows["RAC", "0.8"]["paper: hard part %"] == "33.67"
    assert rows["all windows", ""]["paper: accuracy %"] == ""
    shown = [float(rows["SpeechPrune", f"{rate:g}"]["TFLOPs"]) for rate in paper.RATES]
    assert shown == sorted(shown, reverse=True)
    assert float(rows["all windows", ""]["TFLOPs"]) > float(rows["Original", ""]["TFLOPs"]) > shown[0]
    assert rows["RAP", "0.6"]["TFLOPs"] == rows["SpeechPrune", "0.6"]["TFLOPs"]


def test_table2_shows_the_gain_of_every_run(tmp_path):
    folders = [
        log_of(tmp_path / name, table2_methods(0.2), lambda i, method: i % 2 == 0 or method != "first30", name)
        for name in ("spiral", "dream-tts")
    ]
    found = table2(folders)
    rows = {row[1:3]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    assert set(rows) == {
        (b, m) for b in ("spiral", "dream-tts") for m in ("Original", "all windows", "SpeechPrune 0.2")
    }
    assert rows["spiral", "SpeechPrune 0.2"]["gain over Original, points"].startswith("+50.0 (+")
    assert rows["spiral", "Original"]["gain over Original, points"] == ""
    assert rows["dream-tts", "SpeechPrune 0.2"]["paper: Qwen2-Audio %"] == "65.19"
    assert rows["dream-tts", "Original"]["paper: DiVA %"] == "45.72"
    assert rows["dream-tts", "all windows"]["paper: DiVA %"] == ""


def test_other_rates_than_the_papers_have_no_figure_of_it(tmp_path):
    found = table2([log_of(tmp_path, table2_methods(0.6), lambda i, method: i % 2 == 0)])
    rows = {row[2]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    assert rows["SpeechPrune 0.6"]["paper: Qwen2-Audio %"] == ""
    assert rows["Original"]["paper: Qwen2-Audio %"] == "60.38"


def test_table1_is_the_papers():
    """Section 1.6, line by line: method, rate, SPIRAL, SPIRAL-H; and cost by rate."""
    lines = """
        first30 0 60.38 0 | random-pieces .2 42.49 21.45 | random-crop .2 65.71 48.13 | speechprune .2 89.23 81.64
        random-pieces .4 42.89 22.19 | random-crop .4 62.45 41.90 | speechprune .4 85.97 76.43
        random-pieces .6 42.39 21.45 | random-crop .6 58.20 35.41 | speechprune .6 75.89 63.77
        random-pieces .8 45.26 23.19 | random-crop .8 55.83 33.67 | speechprune .8 62.45 46.15"""
    found = [line.split() for line in lines.replace("\n", "|").split("|") if line.strip()]
    expected = {(name, float(rate)): (float(whole), float(hard)) for name, rate, whole, hard in found}
    assert expected == paper.TABLE1_ACCURACY
    costs = {
        rate: (cost.tflops, cost.prefill_ms, cost.memory_gb, cost.activations_gb)
        for rate, cost in paper.TABLE1_COST.items()
    }
    assert costs == {
        0.0: (12.2, 779, 13.40, 0.19),
        0.2: (10.06, 662, 13.32, 0.15),
        0.4: (7.93, 511, 13.24, 0.11),
        0.6: (5.79, 419, 13.17, 0.07),
        0.8: (3.66, 278, 13.09, 0.04),
    }


def test_the_papers_figures_hang_together():
    """The set's hard part is what Original gets wrong: 401 of 1,012."""
    assert paper.TABLE1_ACCURACY["first30", 0.0][0] == pytest.approx(100 * (1012 - 401) / 1012, abs=0.01)
    assert paper.TABLE2["Qwen2-Audio"]["spiral"][1] == paper.TABLE1_ACCURACY["speechprune", 0.2][0]
    assert paper.FIGURE3[0.2][2] == paper.TABLE1_ACCURACY["speechprune", 0.2][1]
    cost = paper.TABLE1_COST
    assert 1 - cost[0.8].tflops / cost[0.0].tflops == pytest.approx(0.70, abs=0.005)
    assert 1 - cost[0.8].prefill_ms / cost[0.0].prefill_ms == pytest.approx(0.64, abs=0.005)
