"""Lessons: what a Speech LLM reads of a recording, and what is asked about it.

A lesson is a tree: the recording is the trunk, its questions are branches, and each question's answers, the right
one and wrong ones, are twigs. A token sees what leads to it from the trunk, so that the LLM reads a recording once
for all its questions and a question once for all its answers, and each as if it stood alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

SPEECH = -1  # in the place of a speech token's id
IGNORED = -100  # label of a token that is not learned
LISTED = 0.4  # part of the questions that list choices and ask for a letter
WHOLE = 0.4  # part of the lessons of which all tokens are read
SPOKEN = 0.2  # part of which no silence is read; of the others, it is left out at random
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
    """A recording's speech tokens and the questions about it.

    Attributes:
        tokens: of the recording.
        asked: at least one.
        paced: where no token begins in `tokens.times`, there is silence, and it is to be read.
    """

    tokens: AudioTokens
    asked: tuple[Asked, ...]
    paced: bool = False


@dataclass(frozen=True)
class Example:
    """A lesson as the LLM reads it.

    Attributes:
        ids: the recording, a `SPEECH` for every speech token, then every question and its answers.
        speech: the speech tokens.
        positions: of every token; questions go on behind the recording, answers behind their question.
        questions: 0 for the recording, then 1, 2, ...
        answers: 0 for what is no answer, 1 for the right answer to a question, then 2, 3, ... for wrong ones.
        labels: the token that every token is to predict.
    """

    ids: Int[Tensor, "tokens"]
    speech: Float[Tensor, "audio dim"]
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
        self._spoken = [int((lesson.tokens.embeds != 0).any(1).sum()) for lesson in lessons]
        self._whole = [self._frames(lesson) for lesson in lessons]

    @override
    def __len__(self) -> int:
        return len(self._lessons)

    @property
    @override
    def lengths(self) -> Sequence[int]:
        """In speech tokens, about, as the lessons are drawn in this epoch."""
        found = list[int]()
        for drawn in map(self._draw, range(len(self))):
            spoken, whole = (sum(sizes[part] for part in drawn.parts) for sizes in (self._spoken, self._whole))
            found.append(spoken + round(drawn.share * (whole - spoken)))
        return found

    @override
    def __getitem__(self, index: int) -> Example:
        drawn, rng = self._draw(index), Random(f"asked-{self._key(index)}")
        joined = join([self._heard(self._lessons[part]) for part in drawn.parts])
        tokens = joined.select(without_silence(joined.embeds, drawn.share, rng.getrandbits(32)))
        return example(self._lm, tokens, [_form(asked, rng) for asked in self._lessons[index].asked])

    def _heard(self, lesson: Lesson) -> AudioTokens:
        return with_silence(lesson.tokens, self._lm.tokens_per_second) if lesson.paced else lesson.tokens

    def _draw(self, index: int) -> "_Draw":
        if not self._vary:
            return _Draw((index,), 1.0)
        rng, parts = Random(self._key(index)), [index]
        if rng.random() < JOINED:
            for _ in range(rng.randint(1, LONGEST_JOIN)):
                parts.insert(rng.randint(0, len(parts)), rng.randrange(len(self)))
        kind = rng.random()
        share = 1.0 if kind < WHOLE else 0.0 if kind < WHOLE + SPOKEN else rng.random()
        return _Draw(tuple(parts), share)

    def _frames(self, lesson: Lesson) -> int:
        """Tokens with silence."""
        if not lesson.paced or not len(lesson.tokens):
            return len(lesson.tokens)
        return round(float(lesson.tokens.times[-1, 0]) * self._lm.tokens_per_second) + 1

    def _key(self, index: int) -> str:
        return f"{self._seed}-{self.epoch if self._vary else 0}-{index}"


@dataclass(frozen=True)
class _Draw:
    """What is read of a lesson: which recordings, joined, and which share of their silence."""

    parts: tuple[int, ...]
    share: float


def join(parts: Sequence[AudioTokens]) -> AudioTokens:
    """The tokens of recordings one after the other."""
    times, end = list[Tensor](), 0.0
    for part in parts:
        times.append(part.times + end)
        end += float(part.times[-1, 1]) if len(part) else 0.0
    embeds = torch.cat([part.embeds for part in parts])
    return AudioTokens(embeds, torch.cat(times), all(part.aligned for part in parts))


def with_silence(tokens: AudioTokens, rate: float) -> AudioTokens:
    """Tokens with zeros, which are silence in auricle-mini, in the frames where none begins.

    Args:
        tokens: no two begin in the same frame.
        rate: frames per second.
    """
    frames = (tokens.times[:, 0].double() * rate).round().long()
    length = int(frames[-1]) + 1 if len(frames) else 0
    starts = torch.arange(length, dtype=torch.float64) / rate
    embeds = tokens.embeds.new_zeros(length, tokens.embeds.shape[1]).index_copy(0, frames, tokens.embeds)
    return AudioTokens(embeds, torch.stack([starts, starts + 1 / rate], 1).float(), tokens.aligned)


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
    templates = [lm.template(form.question, form.listed or None) for form in forms]
    first = templates[0]
    speech = torch.full((len(tokens),), SPEECH)
    trunk = torch.cat([first.ids[: first.audio], speech]) if len(tokens) else speech
    parts = [_part(trunk, 0, 0, 0)]
    for number, (template, form) in enumerate(zip(templates, forms, strict=True), 1):
        before, behind = template.ids[: template.audio], template.ids[template.audio + 1 :]
        if not torch.equal(before, first.ids[: first.audio]):
            raise TrainingError(f"{lm.name}'s prompts differ before their speech; questions must stand behind it.")
        text = behind if len(tokens) else torch.cat([before, behind])
        parts.append(_part(text[:-1], len(trunk), number, 0))
        for answer, said in enumerate(form.answers, 1):
            ids = lm.answer_ids(said)
            read = torch.cat([text[-1:], ids[:-1]])  # the prompt's last token predicts each answer's first
            parts.append(_part(read, len(trunk) + len(text) - 1, number, answer, ids))
    ids, *others = (torch.cat(each) for each in zip(*parts, strict=True))
    return Example(ids, tokens.embeds.cpu(), *others)


def _part(
    ids: Int[Tensor, "tokens"],
    start: int,
    question: int,
    answer: int,
    labels: Int[Tensor, "tokens"] | None = None,
) -> tuple[Int[Tensor, "tokens"], ...]:
    """All that an example says of tokens, in its order."""
    ones = torch.ones_like(ids)
    learned = IGNORED * ones if labels is None else labels
    return ids, start + torch.arange(len(ids)), question * ones, answer * ones, learned


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """Pads lessons to the longest; the speech tokens of all stand one after the other."""

    def padded(name: str, value: int) -> Tensor:
        each = [getattr(example, name) for example in examples]
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=value)

    fill = {"ids": 0, "positions": 0, "questions": -1, "answers": 0, "labels": IGNORED}
    batch = {name: padded(name, value) for name, value in fill.items()}
    return batch | {"speech": torch.cat([example.speech for example in examples])}


def inputs(lm: HuggingFaceSpeechLM, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the decoder reads of a batch, on the batch's device."""
    speech = (batch["ids"] == SPEECH)[..., None]
    embeds = lm.embed(batch["ids"].clamp(min=0))
    return {
        "inputs_embeds": embeds.masked_scatter(speech, batch["speech"].to(embeds)),
        "position_ids": lm.axes(batch["positions"]),
        "attention_mask": visible(batch["questions"], batch["answers"])[:, None],
    }


def visible(
    questions: Int[Tensor, "batch tokens"], answers: Int[Tensor, "batch tokens"]
) -> Bool[Tensor, "batch tokens tokens"]:
    """Whether a token (row) sees another (column): those before it that lead to it.

    Padding (question -1) sees itself alone, since a row without anything to see has no softmax.
    """
    tokens = questions.shape[1]
    every = torch.ones(tokens, tokens, dtype=torch.bool, device=questions.device)
    same_question = questions[:, :, None] == questions[:, None, :]
    same_answer = (answers[:, :, None] == answers[:, None, :]) | (answers == 0)[:, None, :]
    recording = (questions == 0)[:, None, :]
    real = (questions >= 0)[:, :, None] | (every.tril() & every.triu())
    return every.tril() & (recording | (same_question & same_answer)) & real


def save_lessons(path: Path, lessons: Sequence[Lesson]) -> None:
    """Writes lessons to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = dict[str, Tensor]()
    for i, each in enumerate(lessons):
        tensors |= {f"embeds-{i:04d}": each.tokens.embeds.contiguous(), f"times-{i:04d}": each.tokens.times}
    about = [
        {"aligned": each.tokens.aligned, "paced": each.paced, "asked": [asdict(a) for a in each.asked]}
        for each in lessons
    ]
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
            each["paced"],
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
