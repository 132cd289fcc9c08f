"""Stage three: Speech Summarization Tokens learn to stand for speech, at rising ratios; all else stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from auricle.key_values import no_pairs
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.summarization.intervals import cut
from auricle.summarization.sst import SST, Reader, installed
from auricle.summarization.summarizer import Summarization, interval_pairs
from auricle.training.instruct import said_loss
from auricle.training.lessons import SPEECH, Example, Lessons, visible
from auricle.training.loop import Examples, Schedule, fit

SCHEDULE = Schedule(epochs=1.0, learning_rate=1e-3, batch_size=1, accumulation=8)
CURRICULUM = ((2, 4), (2, 4, 8, 12, 16))


@dataclass(frozen=True)
class Compression:
    """A lesson, and the ratio of each of its intervals."""

    example: Example
    ratios: tuple[int, ...]


class Compressions(Examples[Compression]):
    """Lessons with ratios that are drawn anew each epoch."""

    def __init__(
        self, lessons: Lessons, ratios: Sequence[int], shortest: int, seed: int, *, mixed: bool = True
    ) -> None:
        """Takes the lessons.

        Args:
            lessons: to read.
            ratios: to draw from.
            shortest: speech tokens of an interval, at least.
            seed: of what is drawn.
            mixed: draws a ratio for every interval; else one for a lesson.
        """
        self._lessons = lessons
        self._ratios = tuple(ratios)
        self._shortest = shortest
        self._seed = seed
        self._mixed = mixed

    @override
    def __len__(self) -> int:
        return len(self._lessons)

    @property
    @override
    def lengths(self) -> Sequence[int]:
        self._lessons.epoch = self.epoch
        return self._lessons.lengths

    @override
    def __getitem__(self, index: int) -> Compression:
        self._lessons.epoch = self.epoch
        example, rng = self._lessons[index], Random(f"{self._seed}-{self.epoch}-{index}")
        intervals = len(example.speech) // self._shortest + 1
        drawn = rng.choices(self._ratios, k=intervals)
        return Compression(example, tuple(drawn if self._mixed else drawn[:1] * intervals))


def collate(items: list[Compression]) -> dict[str, Any]:
    """Lessons are read one by one: their intervals need not go with each other."""
    every = [{**vars(item.example), "ratios": list(item.ratios)} for item in items]
    return {"lessons": torch.zeros(len(items)), "each": every}


class Compressing(nn.Module):
    """What is trained, the SSTs, in a Speech LLM that is not a part of it."""

    def __init__(self, lm: HuggingFaceSpeechLM, sst: SST, reader: Reader, options: Summarization) -> None:
        """Takes them; `reader` has the SSTs installed."""
        super().__init__()
        self.sst = sst
        self._lm, self._reader, self._options = lm, reader, options

    @override
    def forward(self, batch: dict[str, Any]) -> Float[Tensor, ""]:
        return torch.stack([self._loss(each) for each in batch["each"]]).mean()

    def _loss(self, lesson: dict[str, Any]) -> Float[Tensor, ""]:
        """Of the answers, read behind the SSTs in the place of the speech; gradients reach all intervals."""
        trunk = lesson["questions"] == 0
        prefix = lesson["ids"][trunk & (lesson["ids"] != SPEECH)]
        past = self._reader.read(self._lm.embed(prefix), no_pairs(self._reader.decoder))[1]
        speech, given = lesson["speech"].to(past.keys), self._options
        for (start, end), ratio in zip(
            cut(speech, given.interval, given.boundaries), lesson["ratios"], strict=False
        ):
            options = replace(given, compression_ratio=ratio)
            past += interval_pairs(self._reader, self.sst, speech[start:end], past, options)
        labels, questions, answers = (lesson[name][None, ~trunk] for name in ("labels", "questions", "answers"))
        states, _ = self._reader.read(
            self._lm.embed(lesson["ids"][~trunk]),
            past,
            positions=lesson["positions"][~trunk] - int(trunk.sum()),
            visible=visible(questions, answers)[0],
        )
        idle = 0 * self.sst.embedding.sum()  # of no effect: else no gradient where all speech was silence left out
        return said_loss(self._lm, states[None], labels, questions, answers) + idle


def compress(
    lm: HuggingFaceSpeechLM,
    sst: SST,
    train: Lessons,
    validation: Lessons,
    output: Path,
    options: Summarization,
    curriculum: Sequence[Sequence[int]],
    schedule: Schedule,
    *,
    mixed: bool = True,
) -> None:
    """Trains the SSTs in place, phase by phase; a killed run goes on from its last checkpoint in `output`.

    Args:
        lm: the Speech LLM, which is not changed.
        sst: of its decoder.
        train: lessons to learn.
        validation: lessons that are never learned.
        output: checkpoints and logs, a folder a phase.
        options: intervals and placement; the ratio is the curriculum's.
        curriculum: the ratios of each phase.
        schedule: how long, shared by the phases, and how fast.
        mixed: see `Compressions`.
    """
    shortest = options.interval if options.boundaries == "fixed" else max(1, options.interval // 2)
    phase = replace(schedule, epochs=schedule.epochs / len(curriculum))
    with installed(lm.model.get_decoder(), sst) as reader:
        model = Compressing(lm, sst, reader, options)
        for number, ratios in enumerate(curriculum):
            given = Compressions(train, ratios, shortest, schedule.seed + number, mixed=mixed)
            kept = Compressions(validation, ratios, shortest, schedule.seed, mixed=mixed)
            fit(model, lambda model, batch: model(batch), given, kept, collate, output / f"phase-{number}", phase)
