"""Lessons: what a Speech LLM reads of a recording, and what is asked about it.

A lesson's questions share the recording: they are branches behind one prefix, each of which sees the prefix and
itself alone, so that the LLM reads a recording once for all its questions, and each as if it were asked alone.
"""

import json
from collections.abc import Sequence
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
        wrong: other choices; without them, none are ever listed.
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
        embeds: the prefix, then the branches.
        positions: of every token; each branch goes on behind the prefix.
        branches: 0 for the prefix, then 1, 2, ...
        labels: the token that every token is to predict.
    """

    embeds: Float[Tensor, "tokens dim"]
    positions: Int[Tensor, "tokens"]
    branches: Int[Tensor, "tokens"]
    labels: Int[Tensor, "tokens"]


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


def example(
    lm: HuggingFaceSpeechLM, tokens: AudioTokens, questions: Sequence[tuple[str, tuple[str, ...], str]]
) -> Example:
    """The prompts of a recording's questions, each with its answer, as branches behind what they share.

    Args:
        lm: whose prompts they are.
        tokens: of the recording.
        questions: each with the choices to list, which may be none, and the answer.

    Raises:
        TrainingError: the model's prompt does not have the speech before the question.
    """
    prompts = [lm.prompt(tokens, lm.query(question), listed or None) for question, listed, _ in questions]
    shared = int(prompts[0].audio[-1]) + 1 if len(tokens) else 0
    prefix = prompts[0].embeds[0, :shared]
    embeds, positions, branches = [prefix], [torch.arange(shared)], [torch.zeros(shared, dtype=torch.long)]
    labels = [torch.full((shared,), IGNORED)]
    for number, (prompt, (_, _, answer)) in enumerate(zip(prompts, questions, strict=True), 1):
        if not torch.equal(prompt.embeds[0, :shared], prefix):
            raise TrainingError(f"{lm.name}'s prompts differ before their speech; questions must stand behind it.")
        text, ids = prompt.embeds[0, shared:], lm.answer_ids(answer)
        embeds += [text, lm.embed(ids[:-1])]
        length = len(text) + len(ids) - 1
        positions.append(torch.arange(shared, shared + length))
        branches.append(torch.full((length,), number))
        labels.append(torch.cat([torch.full((len(text) - 1,), IGNORED), ids.cpu()]))
    return Example(torch.cat(embeds).cpu(), torch.cat(positions), torch.cat(branches), torch.cat(labels))


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """Pads lessons to the longest; what may see what becomes a mask."""
    pad = torch.nn.utils.rnn.pad_sequence
    branches = pad([each.branches for each in examples], batch_first=True, padding_value=-1)
    labels = pad([each.labels for each in examples], batch_first=True, padding_value=IGNORED)
    return {
        "inputs_embeds": pad([each.embeds for each in examples], batch_first=True),
        "position_ids": pad([each.positions for each in examples], batch_first=True),
        "attention_mask": visible(branches)[:, None],
        "labels": labels,
    }


def visible(branches: Int[Tensor, "batch tokens"]) -> Bool[Tensor, "batch tokens tokens"]:
    """Whether a token (row) sees another (column): those before it in the prefix and in its own branch.

    Padding (-1) sees itself alone, since a row without anything to see has no softmax.
    """
    tokens = branches.shape[1]
    before = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    same = branches[:, :, None] == branches[:, None, :]
    prefix = (branches == 0)[:, None, :] & (branches >= 0)[:, :, None]
    real = (branches >= 0)[:, :, None] | torch.eye(tokens, dtype=torch.bool)
    return before & (same | prefix) & real


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


def _form(asked: Asked, rng: Random) -> tuple[str, tuple[str, ...], str]:
    """The question, the choices that are listed with it, and the answer: a letter if any are."""
    if not asked.wrong or rng.random() >= LISTED:
        return asked.question, (), _capital(asked.answer)
    listed = [asked.answer, *asked.wrong]
    rng.shuffle(listed)
    return asked.question, tuple(map(_capital, listed)), letter(listed.index(asked.answer))


def _capital(answer: str) -> str:
    return answer[:1].upper() + answer[1:]
