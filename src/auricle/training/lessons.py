"""Lessons: what a Speech LLM reads of a recording, and what is asked about it.

A lesson is a tree: the recording is the trunk, its questions are branches, and each question's answers, the right
one and wrong ones, are twigs. A token sees what leads to it from the trunk, so that the LLM reads a recording once
for all its questions and a question once for all its answers, and each as if it stood alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import override

from auricle.errors import TrainingError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.questions import letter
from auricle.speech_lm import AudioTokens
from auricle.training.loop import Examples

IGNORED = -100  # label of a token that is not learned
LISTED = 0.25  # part of the questions that list choices and ask for a letter
WHOLE = 0.3  # part of the lessons of which all tokens are read; of the others, silence is left out at random
JOINED = 0.3  # part of the lessons that stand in a longer recording
LONGEST_JOIN = 3  # lessons that are put around one


@dataclass(frozen=True)
class Asked:
    """A question to learn.

    Attributes:
        question: what is asked.
        answer: what is to be answered.
        wrong: other choices, to be told from the answer; without them, none are ever listed.
    """

    question: str
    answer: str
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """A recording's speech tokens and the questions about it."""

    tokens: AudioTokens
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Example:
    """A lesson as the LLM reads it.

    Attributes:
        embeds: the recording, then every question and its answers.
        positions: of every token; questions go on behind the recording, answers behind their question.
        questions: 0 for the recording, then 1, 2, ...
        answers: 0 for what is no answer, 1 for the right answer to a question, then 2, 3, ... for wrong ones.
        labels: the token that every token is to predict.
    """

    embeds: Float[Tensor, "tokens dim"]
    positions: Int[Tensor, "tokens"]
    questions: Int[Tensor, "tokens"]
    answers: Int[Tensor, "tokens"]
    labels: Int[Tensor, "tokens"]


@dataclass(frozen=True)
class Form:
    """How a question is put.

    Attributes:
        question: what is asked.
        answers: the right one, then wrong ones to be told from it.
        listed: choices in the prompt.
    """

    question: str
    answers: tuple[str, ...]
    listed: tuple[str, ...] = ()


class Lessons(Examples[Example]):
    """Lessons as a Speech LLM's prompts. What is joined, left out and listed is drawn anew each epoch."""

    def __init__(self, lm: HuggingFaceSpeechLM, lessons: Sequence[Lesson], seed: int, *, vary: bool = True) -> None:
        """Takes the lessons.

        Args:
            lm: whose prompts they become.
            lessons: at least one question each.
            seed: of what is drawn.
            vary: False neither joins recordings nor leaves tokens out, for validation.
        """
        self._lm = lm
        self._lessons = lessons
        self._seed = seed
        self._vary = vary

    @override
    def __len__(self) -> int:
        return len(self._lessons)

    @property
    @override
    def lengths(self) -> Sequence[int]:
        return [len(lesson.tokens) for lesson in self._lessons]

    @override
    def __getitem__(self, index: int) -> Example:
        rng = Random(f"{self._seed}-{self.epoch if self._vary else 0}-{index}")
        lesson = self._lessons[index]
        tokens = self._varied(lesson.tokens, rng) if self._vary else lesson.tokens
        return example(self._lm, tokens, [_form(asked, rng) for asked in lesson.asked])

    def _varied(self, tokens: AudioTokens, rng: Random) -> AudioTokens:
        parts = [tokens]
        if rng.random() < JOINED:
            for _ in range(rng.randint(1, LONGEST_JOIN)):
                parts.insert(rng.randint(0, len(parts)), rng.choice(self._lessons).tokens)
        joined = join(parts)
        share = 1.0 if rng.random() < WHOLE else rng.random()
        return joined.select(without_silence(joined.embeds, share, rng.getrandbits(32)))


def join(parts: Sequence[AudioTokens]) -> AudioTokens:
    """The tokens of recordings one after the other."""
    times, end = list[Tensor](), 0.0
    for part in parts:
        times.append(part.times + end)
        end += float(part.times[-1, 1]) if len(part) else 0.0
    embeds = torch.cat([part.embeds for part in parts])
    return AudioTokens(embeds, torch.cat(times), all(part.aligned for part in parts))


def without_silence(embeds: Float[Tensor, "audio dim"], share: float, seed: int) -> Int[Tensor, "kept"]:
    """Which tokens are read if only a share of those is that are zero: what is silence in auricle-mini.

    So the LLM learns to read pruned speech as well as whole, and learns faster from fewer tokens.
    """
    silent = (embeds == 0).all(1)
    drawn = torch.rand(len(embeds), generator=torch.Generator().manual_seed(seed)).to(embeds.device)
    return (~silent | (drawn < share)).nonzero()[:, 0]


def example(lm: HuggingFaceSpeechLM, tokens: AudioTokens, forms: Sequence[Form]) -> Example:
    """The prompts of a recording's questions, with their answers, as a tree.

    Args:
        lm: whose prompts they are.
        tokens: of the recording.
        forms: the questions.

    Raises:
        TrainingError: the model's prompt does not have the speech before the question.
    """
    prompts = [lm.prompt(tokens, lm.query(form.question), form.listed or None) for form in forms]
    shared = int(prompts[0].audio[-1]) + 1 if len(tokens) else 0
    prefix = prompts[0].embeds[0, :shared]
    parts = [_part(prefix, 0, 0, 0)]
    for number, (prompt, form) in enumerate(zip(prompts, forms, strict=True), 1):
        if not torch.equal(prompt.embeds[0, :shared], prefix):
            raise TrainingError(f"{lm.name}'s prompts differ before their speech; questions must stand behind it.")
        text, last = prompt.embeds[0, shared:-1], prompt.embeds[0, -1:]
        parts.append(_part(text, shared, number, 0))
        for answer, said in enumerate(form.answers, 1):
            ids = lm.answer_ids(said)
            read = torch.cat([last, lm.embed(ids[:-1])])  # the prompt's last token predicts each answer's first
            parts.append(_part(read, shared + len(text), number, answer, ids))
    return Example(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Example)))


def _part(
    embeds: Float[Tensor, "tokens dim"],
    start: int,
    question: int,
    answer: int,
    labels: Int[Tensor, "tokens"] | None = None,
) -> Example:
    ones = torch.ones(len(embeds), dtype=torch.long)
    ids = IGNORED * ones if labels is None else labels.cpu()
    return Example(embeds.cpu(), start + torch.arange(len(embeds)), question * ones, answer * ones, ids)


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """Pads lessons to the longest; what may see what becomes a mask."""

    def padded(name: str, value: int) -> Tensor:
        each = [getattr(example, name) for example in examples]
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=value)

    questions, answers = padded("questions", -1), padded("answers", 0)
    return {
        "inputs_embeds": padded("embeds", 0),
        "position_ids": padded("positions", 0),
        "attention_mask": visible(questions, answers)[:, None],
        "labels": padded("labels", IGNORED),
        "questions": questions,
        "answers": answers,
    }


def visible(
    questions: Int[Tensor, "batch tokens"], answers: Int[Tensor, "batch tokens"]
) -> Bool[Tensor, "batch tokens tokens"]:
    """Whether a token (row) sees another (column): those before it that lead to it.

    Padding (question -1) sees itself alone, since a row without anything to see has no softmax.
    """
    tokens = questions.shape[1]
    before = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    same_question = questions[:, :, None] == questions[:, None, :]
    same_answer = (answers[:, :, None] == answers[:, None, :]) | (answers == 0)[:, None, :]
    recording = (questions == 0)[:, None, :]
    real = (questions >= 0)[:, :, None] | torch.eye(tokens, dtype=torch.bool)
    return before & (recording | (same_question & same_answer)) & real


def save_lessons(path: Path, lessons: Sequence[Lesson]) -> None:
    """Writes lessons to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = dict[str, Tensor]()
    for i, each in enumerate(lessons):
        tensors |= {f"embeds-{i:04d}": each.tokens.embeds.contiguous(), f"times-{i:04d}": each.tokens.times}
    about = [{"aligned": each.tokens.aligned, "asked": [asdict(a) for a in each.asked]} for each in lessons]
    path.with_suffix(".json").write_text(json.dumps(about))
    partial = path.with_suffix(".part")
    save_file(tensors, partial)
    partial.replace(path)


def load_lessons(path: Path) -> list[Lesson]:
    """Reads what `save_lessons` wrote."""
    tensors, about = load_file(path), json.loads(path.with_suffix(".json").read_text())
    return [
        Lesson(
            AudioTokens(tensors[f"embeds-{i:04d}"], tensors[f"times-{i:04d}"], each["aligned"]),
            tuple(Asked(one["question"], one["answer"], tuple(one["wrong"])) for one in each["asked"]),
        )
        for i, each in enumerate(about)
    ]


def _form(asked: Asked, rng: Random) -> Form:
    """A question as it is, or with its choices listed, of which a letter is the answer."""
    answers = tuple(map(_capital, (asked.answer, *asked.wrong)))
    if not asked.wrong or rng.random() >= LISTED:
        return Form(asked.question, answers)
    listed = rng.sample(answers, len(answers))
    right = letter(listed.index(answers[0]))
    wrong = (letter(i) for i in range(len(listed)) if letter(i) != right)
    return Form(asked.question, (right, *wrong), tuple(listed))


def _capital(answer: str) -> str:
    return answer[:1].upper() + answer[1:]
