from dataclasses import replace

import pytest

from auricle.benchmarks.audiomarathon import AudioMarathon
from auricle.evaluation.log import Log, Run
from auricle.evaluation.report import html, markdown, result, section, write
from auricle.evaluation.task_tables import as_rows, tasks_of
from evaluation.records import said

RUN = Run("fake", "audiomarathon", "somewhere", "generate", note="This is not it.")
TASKS = tuple(AudioMarathon.SCORERS)


def answer(task, number, text, method, correct=0, **fields):
    if task == "ASR":
        base = said(text, order=(), sample=f"{task}/{number}", method=method, **fields)
        return replace(base, choices=(), correct=-1, task=task, reference="one two", recording=f"{task}{number}")
    choices = ("male", "female") if task in ("SD", "SGR") else ("red", "green", "blue", "grey")
    base = said(
        text, tuple(range(len(choices))), sample=f"{task}/{number}", method=method, correct=correct, **fields
    )
    return replace(base, choices=choices, task=task, recording=f"{task}{number}")


@pytest.fixture
def folder(tmp_path):
    """`full` is right everywhere, `uniform` in the first half; one of its answers cannot be read, one failed."""
    with Log(tmp_path / "run", RUN) as log:
        for task in TASKS:
            for i in range(4):
                letter = "AB"[i % 2]
                right = {"correct": i % 2, "audio_tokens": 100}
                text = "one two" if task == "ASR" else letter
                log.write(answer(task, i, text, "full", **right, kept_tokens=100))
                late = "" if i == 2 else "C"
                error = {"error": "It is damaged."} if (task, i) == ("SER", 3) else {}
                half = text if i < 2 else late
                log.write(answer(task, i, half, "uniform 0.5", **right, kept_tokens=50, **error))
    return tmp_path / "run"


def tables(folder, **options):
    return {table.title: table for table in section(result(folder, **options)).tables}


def test_main_figures_stand_beside_constants_and_what_was_published(folder):
    table = tables(folder)["Main figures"]
    assert table.header[1] == "SER (macro F1)"
    assert table.header[3] == "ASR (100 - WER)"
    assert table.header[-2:] == ("SGR (weighted F1)", "mean")
    rows = {row[0]: row for row in table.rows}
    assert rows["full"][1].startswith("100.0 (")
    assert rows["full"][-1] == "100.0"
    constant = rows["the best constant answer"]
    assert constant[1] == "33.3 ('A')"
    assert constant[3] == "0.0 ('')"
    assert rows["Speech-XL (published)"][7] == "33.3"
    assert rows["Speech-XL (published)"][-1] == "54.7"
    assert rows["Qwen2.5-Omni-7B (published)"][1:3] == ("26.3", "85.1")
    assert "wizwand.com" in table.note


def test_unparsed_answers_are_wrong_unless_figures_are_to_be_as_published(folder):
    table = tables(folder)["ER"]
    names = table.header
    row = dict(zip(names, {row[0]: row for row in table.rows}["uniform 0.5"], strict=True))
    assert row["speech kept"] == "0.500"
    assert row["unparsed"].startswith("25.0")
    # A and B: one hit, one miss each; C is chosen once. Without the unparsed answer A has no miss.
    assert row["macro F1"].startswith(f"{100 * (2 / 3 + 2 / 3 + 0) / 3:.1f}")
    assert row["F1, parsed only"].startswith(f"{100 * (1 + 2 / 3 + 0) / 3:.1f}")
    full = dict(zip(names, {row[0]: row for row in table.rows}["full"], strict=True))
    assert full["F1, parsed only"] == ""
    published = tables(folder, as_published=True)["Main figures"]
    assert published.header[1] == "SER (F1, parsed only)"
    cell = {line[0]: line for line in published.rows}["uniform 0.5"][8]
    assert cell.startswith(f"{100 * (1 + 2 / 3 + 0) / 3:.1f}")


def test_a_figure_that_is_the_same_everywhere_has_no_column(folder, tmp_path):
    with Log(tmp_path / "one", RUN) as log:
        log.write(*(answer("SER", i, "A", "full", correct=0) for i in range(3)))
    table = tables(tmp_path / "one")["SER"]
    assert "F1, parsed only" not in table.header
    assert table.header == ("method", "answers", "speech kept", "macro F1", "accuracy", "unparsed")


def test_there_is_no_mean_of_some_tasks(folder, tmp_path):
    with Log(tmp_path / "one", RUN) as log:
        log.write(answer("SER", 0, "A", "full"))
    rows = {row[0]: row for row in tables(tmp_path / "one")["Main figures"].rows}
    assert rows["full"][-1] == ""


def test_differences_and_failures(folder):
    found = tables(folder)
    lines = {(row[0], row[1]): row[2] for row in found["Differences"].rows}
    assert lines["SAR", "uniform 0.5 - full"].startswith("-")
    assert len(lines) == len(TASKS)
    failed = found["Without an answer (counted as wrong)"]
    assert failed.rows == (("uniform 0.5", "1", "It is damaged."),)


def test_the_note_stands_on_every_page(folder, tmp_path):
    write([folder], tmp_path / "page")
    for name in ("report.md", "report.html"):
        assert "This is not it." in (tmp_path / "page" / name).read_text()
    assert (
        "This is not it. 40 samples; answers generated; choices in the published order; of open questions"
        in markdown([section(result(folder))])
    )
    assert "This is not it. 40 samples" in markdown([section(result(folder))])
    assert "wizwand.com" in html([section(result(folder))])


def test_rows_are_json(folder):
    found = list(as_rows(result(folder).tasks))
    assert len(found) == 2 * len(TASKS)
    first = next(row for row in found if row["task"] == "SER" and row["method"] == "full")
    assert first["main"] == "macro F1"
    assert first["figures"]["accuracy"]["value"] == 100


def test_benchmarks_without_tasks_have_none(folder):
    records = [answer("", 0, "A", "full")]
    assert tasks_of(replace(RUN, benchmark="spiral"), records) is None
    assert tasks_of(replace(RUN, benchmark="my-own-set"), records) is None
    assert tasks_of(RUN, records) is None


def test_a_missing_main_figure_is_replaced_by_name(tmp_path):
    with Log(tmp_path, replace(RUN, benchmark="longspeech")) as log:
        base = said("安静", order=(), sample="a", reference="安静地", groups={"language": "zh-CN"})
        log.write(replace(base, choices=(), correct=-1, task="ASR"))
    (row,) = [row for row in tables(tmp_path)["Main figures"].rows if row[0] == "full"]
    assert row[1].startswith("CER (zh, ja, ko) 33.3 (")
    assert "answers generated." in markdown([section(result(tmp_path))])
    assert next(as_rows(result(tmp_path).tasks))["figures"]["WER"] is None
