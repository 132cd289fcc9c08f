"""LongSpeech: eight tasks on recordings of ten minutes, as published on the hub."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, final

from typing_extensions import override

from auricle.benchmarks.base import Sample
from auricle.benchmarks.tasks import TaskBenchmark
from auricle.benchmarks.tree import Tree
from auricle.errors import DataError
from auricle.evaluation.scorers.base import Scorer
from auricle.evaluation.scorers.labels import Count, Emotion, Judged
from auricle.evaluation.scorers.languages import LanguageDetection
from auricle.evaluation.scorers.texts import Bleu, ErrorRates, Rouge

# Where an answer ends at the latest: a transcript of ten minutes has about 2,500 tokens in English, and more in
# other languages.
_TOKENS = {"ASR": 4096, "translation": 4096, "summary": 1024, "Temporal_Relative_QA": 256}
_LABEL_TOKENS = 32


@final
@dataclass(frozen=True)
class LongSpeech(TaskBenchmark):
    """The eight tasks of "LongSpeech" (arXiv 2601.13539): `LongSpeechQA/<task>/<split>.jsonl` beside recordings.

    A row has `language` (of the target, for translation), and `messages`: what the user asks, with `audio`, a path
    from the root, and what the assistant should say. The question is asked as it stands there.

    Attributes:
        data: the folder that holds `LongSpeechQA`, or a data set of the hub.
        tasks: which of the eight; none takes all.
        split: of every task.
    """

    SCORERS: ClassVar[Mapping[str, Scorer]] = {
        "ASR": ErrorRates(),
        "translation": Bleu(),
        "summary": Rouge(),
        "speaker_count": Count(),
        "content_separation": Count(),
        "language_detection": LanguageDetection(),
        "emotionQA": Emotion(),
        "Temporal_Relative_QA": Judged(),
    }

    data: str | Path = "ATH-MaaS/Marco_Longspeech"
    split: str = "test"

    @property
    @override
    def name(self) -> str:
        return "longspeech"

    @override
    def samples(self) -> Iterator[Sample]:
        tree = Tree(self.data)
        for task in self.chosen:
            path = f"LongSpeechQA/{task}/{self.split}.jsonl"
            if not tree.exists(path):
                raise DataError(f"'{self.data}' has no '{path}'; name the tasks that are there by --task.")
            rows = 0
            for number, line in enumerate(tree.lines(path), 1):
                if line.strip():
                    rows += 1
                    yield _sample(line, task, number, tree)
            if not rows:
                raise DataError(f"'{path}' of '{self.data}' is empty; leave its task out by --task.")


def _said(content: object) -> str:
    """A message: a text, a number, or a list of one of these."""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if isinstance(content, dict) and content.get("type") == "text":
        content = content["text"]
    if isinstance(content, bool) or not isinstance(content, str | int | float):
        raise TypeError(f"content is {content!r}")
    return str(content).strip()


def _sample(line: str, task: str, number: int, tree: Tree) -> Sample:
    try:
        row: dict[str, Any] = json.loads(line)
        messages = row["messages"]
        if isinstance(messages, str):
            messages = json.loads(messages)
        user = next(each for each in messages if each["role"] == "user")
        assistant = next(each for each in messages if each["role"] == "assistant")
        question, reference, path = _said(user["content"]), _said(assistant["content"]), str(user["audio"])
    except (ValueError, KeyError, TypeError, IndexError, StopIteration, AttributeError) as error:
        raise DataError(
            f"Line {number} of the task {task} is not as published ({error!r}); expected language and messages, by"
            " the user with audio and content, and by the assistant with content."
        ) from error
    return Sample(
        id=f"{task}/{number}",
        load=partial(tree.load, path),
        question=question,
        recording=path,
        groups={"language": str(row.get("language") or "")},
        reference=reference,
        task=task,
        max_new_tokens=_TOKENS.get(task, _LABEL_TOKENS),
    )
