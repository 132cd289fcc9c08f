import json
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from auricle.errors import DataError, EndpointError
from auricle.evaluation.judge import VERDICTS, judge, judged
from auricle.evaluation.log import Log, Run, read
from auricle.evaluation.report import result, section
from auricle.spiral.chat import Chat, EndpointChat
from evaluation.records import said
from spiral.chat_server import serve

TASK = "Temporal_Relative_QA"


def answer(number, text, method="full", task=TASK, **fields):
    found = said(text, order=(), sample=f"{task}/{number}", method=method, recording=f"r{number}", **fields)
    from dataclasses import replace

    return replace(
        found, choices=(), correct=-1, task=task, question="What came next?", reference=f"thing {number}"
    )


@pytest.fixture
def folder(tmp_path):
    with Log(tmp_path / "run", Run("fake", "longspeech", "somewhere", "loglikelihood")) as log:
        log.write(*(answer(i, f"it is thing {i}") for i in range(4)))
        log.write(answer(0, "nothing", "uniform 0.5"), answer(1, "", "uniform 0.5", error="too long"))
        log.write(answer(9, "a summary", task="summary"))
    return tmp_path / "run"


@dataclass
class Judge(Chat):
    """YES where the given answer holds the reference, else what it is told to say."""

    otherwise: str = "No."
    asked: list = field(default_factory=list)

    @override
    def reply(self, messages, seed=0):
        self.asked.append((messages[-1].content, seed))
        lines = dict(line.split(": ", 1) for line in messages[-1].content.split("\n\n")[:-1])
        return "**Yes**, it is." if lines["Reference answer"] in lines["Given answer"] else self.otherwise


def test_answers_are_judged_once_and_scored(folder):
    seen = []
    chat = Judge()
    assert judge(folder, chat, "someone", 2, lambda *counts: seen.append(counts)) == (5, 5)
    assert seen[-1] == (5, 5)
    assert len(chat.asked) == 5
    assert "What came next?" in chat.asked[0][0]
    assert judge(folder, chat, "someone") == (5, 5)
    assert len(chat.asked) == 5
    (table,) = [each for each in section(result(folder)).tables if each.title == TASK]
    assert "Judged by someone, asked in this project's own words" in table.note
    found = {(row["method"]): row["figures"] for row in rows(folder) if row["task"] == TASK}
    assert found["full"]["St.A"]["value"] == 100
    assert found["uniform 0.5"]["St.A"]["value"] == 0
    assert found["uniform 0.5"]["judged"]["value"] == 100


def rows(folder):
    from auricle.evaluation.task_tables import as_rows

    return list(as_rows(result(folder).tasks))


def test_before_it_is_judged_nothing_is_counted(folder):
    found = {row["method"]: row["figures"] for row in rows(folder) if row["task"] == TASK}
    assert found["full"]["St.A"] is None
    assert found["full"]["judged"]["value"] == 0
    assert found["uniform 0.5"]["judged"]["value"] == 50


def test_a_torn_line_and_what_was_judged_before_a_kill(folder):
    judge(folder, Judge(), "someone")
    path = folder / VERDICTS
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], lines[2][:20]]))
    chat = Judge()
    assert judge(folder, chat, "someone") == (5, 5)
    assert len(chat.asked) == 3
    assert len(path.read_text().splitlines()) == 5
    assert all(each.verdict or each.error for each in judged(folder, list(read(folder))) if each.task == TASK)
    path.write_text("{\n" + path.read_text())
    with pytest.raises(DataError, match=r"Line 1 of .*verdicts.jsonl' is damaged"):
        judged(folder, list(read(folder)))


def test_another_judge_and_another_answer_are_judged_anew(folder):
    judge(folder, Judge(), "someone")
    chat = Judge("partially")
    judge(folder, chat, "another")
    assert len(chat.asked) == 5
    verdicts = {record.verdict for record in judged(folder, list(read(folder))) if record.task == TASK}
    assert verdicts == {"YES", "PARTIALLY", ""}
    stored = json.loads((folder / VERDICTS).read_text().splitlines()[0])
    assert (stored["judge"], stored["prompt"]) == ("someone", "auricle-1")
    changed = [answer(0, "something else")]
    assert judged(folder, changed)[0].verdict == ""


def test_what_gets_no_verdict_is_left_and_tried_again(folder):
    chat = Judge("Nobody knows.")
    assert judge(folder, chat, "someone") == (4, 5)
    assert [seed for text, seed in chat.asked if "nothing" in text] == [0, 1, 2]
    assert judge(folder, Judge("NO"), "someone") == (5, 5)


def test_a_judge_behind_an_endpoint(folder):
    with serve(lambda body: "NO" if "nothing" in str(body["messages"]) else "YES") as server:
        assert judge(folder, EndpointChat("big", server.url, temperature=0.0), "big", 3) == (5, 5)
    assert {body["temperature"] for body in server.bodies} == {0.0}
    assert server.most <= 3
    with pytest.raises(EndpointError):
        judge(folder, EndpointChat("big", server.url, max_retries=0), "other")


def test_an_answer_that_says_nothing_is_wrong_without_a_judge(tmp_path):
    with Log(tmp_path, Run("fake", "longspeech", "somewhere", "loglikelihood")) as log:
        log.write(answer(0, "it is thing 0"), answer(1, " "), answer(2, ""))
    chat = Judge()
    assert judge(tmp_path, chat, "someone") == (3, 3)
    assert len(chat.asked) == 1
    (row,) = rows(tmp_path)
    assert row["figures"]["St.A"]["value"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("There is no contradiction.\nYES", "YES"),
        ("partially.", "PARTIALLY"),
        ("**NO**, since yes is said elsewhere", "NO"),
        ("Nothing but yes", ""),
    ],
)
def test_a_verdict_begins_the_reply_or_its_last_line(folder, reply, verdict):
    judge(folder, Judge(reply), "someone")
    found = {each.sample + each.method: each.verdict for each in judged(folder, list(read(folder)))}
    assert found[f"{TASK}/0uniform 0.5"] == verdict


def test_a_run_without_such_answers_is_refused(tmp_path):
    with Log(tmp_path, Run("fake", "spiral", "somewhere", "loglikelihood")) as log:
        log.write(answer(0, "x"))
    with pytest.raises(DataError, match="no answer that a judge scores"):
        judge(tmp_path, Judge(), "someone")
