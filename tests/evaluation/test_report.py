import re
from dataclasses import asdict

import pytest

from auricle.errors import DataError
from auricle.evaluation.log import Log, Run
from auricle.evaluation.report import html, markdown, result, section, write
from evaluation.records import record, said

KINDS = ("lecture", "meeting", "conversation")


@pytest.fixture
def folder(tmp_path):
    """40 samples: `full` is right in 3 of 4, `first30` in 1 of 2, the pruners at two rates in between."""
    right = {
        "text-free": lambda i: i % 4 == 0,
        "first30": lambda i: i % 2 == 0,
        "full": lambda i: i % 4 != 1,
        "speechprune 0.4": lambda i: i % 3 != 0,
        "random-pieces 0.4": lambda i: i % 4 == 0,
        "speechprune 0.8": lambda i: i % 5 == 0,
    }
    run = Run("fake", "spiral", "somewhere", "loglikelihood", 4, 0)
    with Log(tmp_path / "run", run) as log:
        for i in range(40):
            for method, is_right in right.items():
                heard = {"audio_tokens": 100, "kept_tokens": 40, "recall": 0.5, "position": i / 40}
                log.write(
                    record(
                        f"s{i}",
                        method,
                        is_right(i),
                        correct=1 if i % 10 < 6 else 2,
                        groups={"transcript_type": KINDS[i % 3]},
                        pruning_rate=float(method[-3:]) if method[-3] == "0" and method[-2] == "." else None,
                        **({} if method == "text-free" else heard),
                    )
                )
    return tmp_path / "run"


def test_a_log_becomes_tables(folder):
    found = {table.title: table for table in section(result(folder)).tables}
    rows = {row[0]: row for row in found["Accuracy"].rows}
    assert rows["full"][1] == "40"
    assert rows["full"][3].startswith("0.750 (0.")
    assert rows["full"][5].startswith("0.500")
    assert rows["text-free"][2] == rows["text-free"][5] == ""
    assert found["Always the same letter"].rows == (
        ("published order", "0.000", "0.600", "0.400", "0.000"),
        ("permuted", "0.250", "0.250", "0.250", "0.250"),
    )
    assert found["By type of transcript"].header == ("method", "conversation", "lecture", "meeting")
    assert found["By position of the evidence"].header == ("method", "first third", "middle third", "last third")
    assert all(cell for row in found["By position of the evidence"].rows for cell in row)
    hard = found["Hard subset"]
    assert hard.header[1] == "the 20 samples that first30 gets wrong"
    assert dict(row[:2] for row in hard.rows)["first30"].startswith("0.000")
    pairs = {row[0] for row in found["Differences"].rows}
    assert "speechprune 0.4 - random-pieces 0.4" in pairs
    assert "full - speechprune 0.8" in pairs
    assert "speechprune 0.4 - speechprune 0.8" not in pairs


def test_what_was_not_answered_is_said(tmp_path):
    with Log(tmp_path, Run("fake", "spiral", "", "generate")) as log:
        log.write(said("B"), said("", sample="s1", error="The prompt is too long."), said("because", sample="s2"))
    found = {table.title: table for table in section(result(tmp_path)).tables}
    assert found["Without an answer (counted as wrong)"].rows == (("full", "1", "The prompt is too long."),)
    assert found["Accuracy"].header[4] == "unparsed"
    assert found["Accuracy"].rows[0][4] == "1"
    assert "By type of transcript" not in found


def test_the_page_needs_no_network(folder, tmp_path):
    write([folder, folder], tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<h2>fake on spiral</h2>") == 2
    assert page.count("<svg") == 4
    assert not re.search(r"(?:src|href)=[\"'](?!#)", page)
    assert not re.search(r"@import|url\(['\"]?http", page)
    text = (tmp_path / "out/report.md").read_text()
    assert "| full | 40 | 0.400 | 0.750 (" in text
    columns = [line.count("|") for line in text.split("### ")[1].splitlines() if line.startswith("|")]
    assert len(set(columns)) == 1


def test_what_stands_in_a_log_is_no_html(tmp_path):
    with Log(tmp_path, Run("<script>", "spiral", "", "generate")) as log:
        log.write(said("B", error="<b>odd</b>"))
    page = html([section(result(tmp_path))])
    assert "<script>" not in page
    assert "&lt;b&gt;odd" in page


def test_reports_repeat(folder):
    scored = result(folder)
    assert html([section(scored)]) == html([section(scored)])
    assert markdown([section(scored)]) == markdown([section(result(folder))])
    assert [asdict(row) for row in scored.rows] == [asdict(row) for row in result(folder).rows]


def test_a_run_says_in_how_many_orders_it_asked(tmp_path):
    for permute, words in ((0, "the published order"), (4, "4 orders, seed 7"), (9, "4 orders")):
        folder = tmp_path / str(permute)
        with Log(folder, Run("fake", "spiral", "", "generate", permute, 7)) as log:
            log.write(said("B"))
        assert words in section(result(folder)).about


def test_one_recording_can_be_reported(tmp_path):
    with Log(tmp_path, Run("fake", "spiral", "", "loglikelihood")) as log:
        log.write(record("s0", "full"), record("s0", "first30", False), record("s0", "a|b\nc"))
    text = markdown([section(result(tmp_path))])
    assert "| a\\|b c |" in text


def test_an_empty_run_is_refused(tmp_path):
    with Log(tmp_path, Run("fake", "spiral", "", "generate")):
        pass
    with pytest.raises(DataError, match="no answers yet"):
        result(tmp_path)
