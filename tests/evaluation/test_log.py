import json

import pytest

from auricle.errors import DataError, OptionError
from auricle.evaluation.log import Log, Run, read, read_run
from evaluation.records import record

RUN = Run("fake", "spiral", "data", "loglikelihood", 4, 0)


def test_what_is_written_is_read_again(tmp_path):
    first = record(seconds={"encode": 1.5}, groups={"transcript_type": "lecture"}, recall=0.25, position=0.5)
    second = record(method="first30", error="too long")
    with Log(tmp_path, RUN) as log:
        log.write(first)
        log.write(second)
        assert list(read(tmp_path)) == [first, second]  # before the log is closed
    assert read_run(tmp_path) == RUN


def test_a_torn_line_is_left_out_and_overwritten(tmp_path):
    with Log(tmp_path, RUN) as log:
        log.write(record("a"), record("b"))
    path = tmp_path / "log-0.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [each.sample for each in read(tmp_path)] == ["a"]
    with Log(tmp_path, RUN) as log:
        assert {key[0] for key in log.done} == {"a"}
        log.write(record("c"))
    assert [each.sample for each in read(tmp_path)] == ["a", "c"]


def test_an_answer_stands_for_the_error_that_it_mends_and_nothing_counts_twice(tmp_path):
    wrong, right = record("a", error="no such file"), record("a")
    with Log(tmp_path, RUN) as log:
        log.write(wrong, record("b"))
    with Log(tmp_path, RUN) as log:
        assert {key[0] for key in log.done} == {"b"}
        log.write(right, record("b"))
    with Log(tmp_path, RUN, 1) as log:
        log.write(wrong)
    assert list(read(tmp_path)) == [right, record("b")]


def test_two_writers_of_one_file_are_refused(tmp_path):
    with Log(tmp_path, RUN), pytest.raises(OptionError, match=r"Another process writes .*log-0"):
        Log(tmp_path, RUN)
    with Log(tmp_path, RUN), Log(tmp_path, RUN, 1):
        pass


@pytest.mark.parametrize("line", ["[1]", "{}", "no JSON"])
def test_a_damaged_line_is_named(tmp_path, line):
    with Log(tmp_path, RUN) as log:
        log.write(record("a"))
    path = tmp_path / "log-0.jsonl"
    path.write_text(line + "\n" + path.read_text())
    with pytest.raises(DataError, match=r"Line 1 .*log-0.jsonl"):
        list(read(tmp_path))


def test_processes_write_files_of_their_own(tmp_path):
    for part in (0, 1):
        with Log(tmp_path, RUN, part) as log:
            log.write(record(f"s{part}"))
    with Log(tmp_path, RUN) as log:
        assert {key[0] for key in log.done} == {"s0", "s1"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "other"),
        ("permute", 0),
        ("seed", 1),
        ("weights", "else"),
        ("options", {"longer_than": "60"}),
        ("protocol", "generate"),
        ("data", "else"),
    ],
)
def test_another_run_does_not_go_on_there(tmp_path, field, value):
    with Log(tmp_path, RUN):
        pass
    with pytest.raises(OptionError, match=field):
        Log(tmp_path, Run(**(vars(RUN) | {field: value})))


def test_no_log_or_one_of_another_version_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(vars(RUN) | {"version": 99}))
    with pytest.raises(DataError, match="version 99"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"model": "x"}))
    with pytest.raises(DataError, match="holds no run"):
        read_run(tmp_path)
