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

from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.summarization.intervals import cut
from auricle.summarization.parallel import behind, lay, recalled
from auricle.summarization.sst import SST
from auricle.summarization.summarizer import Summarization
from auricle.training.instruct import said_loss
from auricle.training.lessons import SPEECH, Example, Lessons, visible
from auricle.training.lessons import collate as lessons_of
from auricle.training.loop import Examples, Schedule, fit

SCHEDULE = Schedule(epochs=1.0, learning_rate=1e-3, batch_size=4, accumulation=2)
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
    """Speech as a list, since recordings are cut before they are padded; the questions about it padded."""
    examples = [item.example for item in items]
    trunks = [example.questions == 0 for example in examples]
    asked = [
        replace(
            example,
            ids=example.ids[~trunk],
            positions=example.positions[~trunk] - int(trunk.sum()),
            questions=example.questions[~trunk],
            answers=example.answers[~trunk],
            labels=example.labels[~trunk],
        )
        for example, trunk in zip(examples, trunks, strict=True)
    ]
    batch: dict[str, Any] = dict(lessons_of(asked))
    batch["prefix"] = examples[0].ids[trunks[0] & (examples[0].ids != SPEECH)]
    batch["speech"] = [example.speech for example in examples]
    batch["ratios"] = [list(item.ratios) for item in items]
    return batch


class Compressing(nn.Module):
    """What is trained, the SSTs, in a Speech LLM that is not a part of it."""

    def __init__(self, lm: HuggingFaceSpeechLM, sst: SST, options: Summarization) -> None:
        """Takes them."""
        super().__init__()
        self.sst = sst
        self._lm, self._options = lm, options

    @override
    def forward(self, batch: dict[str, Any]) -> Float[Tensor, ""]:
        """Of the answers, read behind the SSTs in the place of the speech; gradients reach all intervals."""
        decoder, given, prefix = self._lm.model.get_decoder(), self._options, self._lm.embed(batch["prefix"])
        intervals = [
            [speech.to(prefix)[start:end] for start, end in cut(speech, given.interval, given.boundaries)]
            for speech in batch["speech"]
        ]
        laid = lay(self.sst, prefix, intervals, batch["ratios"], given)
        kept = [laid.kept[:, None]] * len(decoder.layers)
        if given.placement == "recall":
            kept = recalled(decoder, self.sst, laid)
            torch.clear_autocast_cache()  # older releases of torch kept its weights there, cut off from gradients
        questions, answers = batch["questions"], batch["answers"]
        embeds, seen = self._lm.embed(batch["ids"]), visible(questions, answers)
        states = behind(decoder, self.sst, laid, kept, embeds, batch["positions"], seen)
        return said_loss(self._lm, states, batch["labels"], questions, answers)


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
    model = Compressing(lm, sst, options)
    for number, ratios in enumerate(curriculum):
        given = Compressions(train, ratios, shortest, schedule.seed + number, mixed=mixed)
        kept = Compressions(validation, ratios, shortest, schedule.seed, mixed=mixed)
        fit(model, lambda model, batch: model(batch), given, kept, collate, output / f"phase-{number}", phase)
