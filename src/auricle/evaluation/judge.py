"""A language model judges open answers; its verdicts stand beside the log, so that scoring needs it no more."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from auricle.errors import DataError
from auricle.evaluation.log import Key, Record, cut_torn_line, read, read_run
from auricle.evaluation.scorers.labels import Judged
from auricle.evaluation.task_tables import tasks_of
from auricle.spiral.chat import Chat, Message

VERDICTS = "verdicts.jsonl"
PROMPT = "auricle-1"  # changes with the text below
# LongSpeech's judge is GPT-4-Turbo; its prompt is not published, and this one is the project's own.
_SYSTEM = """\
You grade answers to questions about a recording. You see the question, the reference answer and a given answer.
Reply with one word:
YES if the given answer says what the reference says, in whatever words;
PARTIALLY if it says some of it, and nothing that contradicts it;
NO if it is wrong, contradicts the reference, says something else, or says nothing."""
_VERDICT = re.compile(r"\W*(YES|PARTIALLY|NO)\b")  # begins a reply, or its last line
_ATTEMPTS = 3


def judge(
    folder: Path,
    chat: Chat,
    judge_name: str,
    concurrency: int = 1,
    on_verdict: Callable[[int, int], None] = lambda *_: None,
) -> tuple[int, int]:
    """Has a model judge every answer of a run that is to be judged and was not yet.

    Args:
        folder: of the run.
        chat: the judge.
        judge_name: it is kept with each verdict; another judge judges everything anew.
        concurrency: answers that are judged at a time.
        on_verdict: called with the verdicts that there are, and how many there will be.

    Returns:
        how many answers have a verdict, and how many should. To the others the judge said nothing of use, three
        times; they are tried again by the next call.

    Raises:
        DataError: there is no log, or none of its answers is judged by a judge.
        EndpointError, ModelError: the judge cannot be used.
    """
    records = _to_judge(folder)
    cut_torn_line(folder / VERDICTS)
    known = _verdicts(folder, judge_name)
    todo = [record for record in records if known.get(record.key, (None,))[0] != record.answer]
    done = len(records) - len(todo)
    with (folder / VERDICTS).open("a", encoding="utf-8") as file, ThreadPoolExecutor(concurrency) as pool:
        waiting = iter(todo)
        while batch := list(islice(waiting, concurrency)):
            for record, verdict in zip(batch, pool.map(lambda each: _ask(chat, each), batch), strict=True):
                if verdict:
                    file.write(json.dumps(_line(record, verdict, judge_name), ensure_ascii=False) + "\n")
                    done += 1
            file.flush()
            on_verdict(done, len(records))
    return done, len(records)


def judged(folder: Path, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records with the verdicts of the folder's last judge, as far as there are any of these very answers."""
    known = _verdicts(folder)
    return tuple(
        replace(record, verdict=known[record.key][1])
        if record.key in known and known[record.key][0] == record.answer
        else record
        for record in records
    )


def judge_of(folder: Path) -> str:
    """Who judged last; "" if nobody did."""
    names = [str(line["judge"]) for line in _lines(folder)]
    return names[-1] if names else ""


def _to_judge(folder: Path) -> list[Record]:
    tasks = tasks_of(read_run(folder), list(read(folder)))
    found = [
        record
        for task, by_method in (tasks.answers.items() if tasks else ())
        if tasks and isinstance(tasks.scorers[task], Judged)
        for records in by_method.values()
        for record in records
        if not record.error
    ]
    if not found:
        raise DataError(f"The run in '{folder}' has no answer that a judge scores.")
    return found


def _ask(chat: Chat, record: Record) -> str:
    """The verdict; a judge that says something else is asked again, and in the end there is none.

    An answer that says nothing is wrong without a judge.
    """
    if not record.answer.strip():
        return "NO"
    text = f"Question: {record.question}\n\nReference answer: {record.reference}\n\nGiven answer: {record.answer}"
    messages = [Message("system", _SYSTEM), Message("user", f"{text}\n\nYES, PARTIALLY or NO?")]
    for seed in range(_ATTEMPTS):
        reply = chat.reply(messages, seed).upper()
        if found := _VERDICT.match(reply) or _VERDICT.match(reply.splitlines()[-1]):
            return found[1]
    return ""


def _line(record: Record, verdict: str, judge_name: str) -> dict[str, Any]:
    return {
        "sample": record.sample,
        "method": record.method,
        "order": list(record.order),
        "answer": record.answer,
        "verdict": verdict,
        "judge": judge_name,
        "prompt": PROMPT,
    }


def _verdicts(folder: Path, judge_name: str = "") -> Mapping[Key, tuple[str, str]]:
    """Answer and verdict by key, of one judge: the last one if none is named."""
    lines = list(_lines(folder))
    judge_name = judge_name or (str(lines[-1]["judge"]) if lines else "")
    mine = [line for line in lines if line["judge"] == judge_name and line["prompt"] == PROMPT]
    return {
        (line["sample"], line["method"], tuple(line["order"])): (line["answer"], line["verdict"]) for line in mine
    }


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / VERDICTS
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # a torn last line is left out
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DataError(f"Line {number} of '{path}' is damaged ({error}); remove it.") from error
