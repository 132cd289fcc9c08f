"""Asks a Speech LLM every question of a benchmark by several methods, for which a recording is encoded once."""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import torch
from jaxtyping import Int
from torch import Tensor

from auricle.asking import Recording, encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.base import Benchmark, Sample
from auricle.errors import AudioError, ContextLengthError, DataError, ModelError, OptionError, QueryError
from auricle.evaluation.log import Key, Log, Protocol, Record
from auricle.evaluation.methods import Method
from auricle.evaluation.scoring import orders
from auricle.pruning.base import Reduced
from auricle.pruning.recall import evidence_recall
from auricle.speech_lm import AudioTokens, Query, SpeechLM, SpeechPrompt
from auricle.summarization.memory import Memory
from auricle.summarization.summarizer import Summarizer
from auricle.timing import now


@dataclass(frozen=True)
class Pruned:
    """Speech tokens, and what a pruner leaves of them."""

    tokens: AudioTokens
    reduced: Reduced

    def __len__(self) -> int:
        return len(self.reduced.keep)


Read = AudioTokens | Pruned | Memory | None  # by the LLM, of a recording
Todo = Sequence[tuple[Method, tuple[int, ...]]]  # of a sample: in which orders each method is asked
ANSWER_TOKENS = 32  # a letter, or a choice said again
SHORT_TOKENS = 64  # up to here an open answer is a word or a number


@dataclass(frozen=True)
class Plan:
    """How a benchmark is asked.

    Attributes:
        methods: what is compared.
        protocol: "loglikelihood" scores every choice, which the prompt does not list; "generate" lists them with
            letters and reads the letter. The answer to an open question is always generated.
        permute: see `auricle.evaluation.scoring.orders`; by log-likelihood the order has no effect, and each sample
            is asked once.
        seed: of the orders.
        limit: samples to ask at most, of each task; None asks all.
        max_new_tokens: where a long answer to an open question ends at the latest, such as a transcript; None
            leaves it to the benchmark, as words and numbers are in any case.
    """

    methods: tuple[Method, ...]
    protocol: Protocol = "loglikelihood"
    permute: int = 0
    seed: int = 0
    limit: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: `permute` is negative, or another number is not positive.
        """
        orders("", 1, self.permute, self.seed)
        for name in ("limit", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; expected at least 1.")

    def orders(self, sample: Sample) -> tuple[tuple[int, ...], ...]:
        """In which orders a sample's choices are listed; an open question is asked once."""
        permute = self.permute if self.protocol == "generate" and sample.choices else 0
        return orders(sample.id, len(sample.choices), permute, self.seed)


def evaluate(
    lm: SpeechLM,
    benchmark: Benchmark,
    plan: Plan,
    log: Log,
    *,
    part: int = 0,
    parts: int = 1,
    summarizer: Summarizer | None = None,
    on_sample: Callable[[], None] = lambda: None,
) -> None:
    """Asks what the log does not hold yet.

    Args:
        lm: the Speech LLM.
        benchmark: where samples come from.
        plan: how they are asked.
        log: where records go; they are on the disk after every sample.
        part: which of `parts` to do: the samples whose number has this remainder.
        parts: how many processes share the work.
        summarizer: of the Speech LLM, for methods that summarize.
        on_sample: called after every sample, also after those that were done before.

    Raises:
        DataError: the benchmark's data is not what was expected, or two samples have one id.
        ModelError: the model's likelihoods are not finite.
    """
    ask = Asking(lm, plan, summarizer)
    for sample, todo in islice(questions(benchmark, plan, log.done), part, None, parts):
        if todo:
            log.write(*ask(sample, todo))
        on_sample()


def questions(benchmark: Benchmark, plan: Plan, done: Container[Key]) -> Iterator[tuple[Sample, Todo]]:
    """Every sample, with what is not `done` yet: none of it, where all is.

    Raises:
        DataError: as for `evaluate`.
    """
    seen: set[str] = set()
    for sample in limited(benchmark.samples(), plan.limit):
        if sample.id in seen:
            raise DataError(f"Two samples have the id '{sample.id}'; ids have to be unique.")
        seen.add(sample.id)
        every = ((method, order) for method in plan.methods for order in plan.orders(sample))
        yield sample, [(method, order) for method, order in every if (sample.id, method.name, order) not in done]


def limited(samples: Iterable[Sample], limit: int | None) -> Iterator[Sample]:
    """The first samples of each task; a benchmark without tasks ends with the last of them."""
    asked: dict[str, int] = {}
    for sample in samples:
        asked[sample.task] = asked.get(sample.task, 0) + 1
        if limit is None or asked[sample.task] <= limit:
            yield sample
        elif not sample.task:
            return


class Asking:
    """Answers one sample after the other; a recording that the next one shares is encoded once."""

    def __init__(self, lm: SpeechLM, plan: Plan, summarizer: Summarizer | None = None) -> None:
        self._lm, self._plan, self._summarizer = lm, plan, summarizer
        self._before: _Asked | None = None

    def __call__(self, sample: Sample, todo: Todo) -> list[Record]:
        """A record of each of what is to do.

        Raises:
            ModelError: the model's likelihoods are not finite.
        """
        asked = _Asked(self._lm, sample, self._plan, self._summarizer)
        if self._before and sample.recording and self._before.sample.recording == sample.recording:
            asked.recording = self._before.recording
        self._before = asked
        return asked.answers(todo)


class _Asked:
    """One sample being asked: what its answers share is made once, and only if it is needed."""

    def __init__(self, lm: SpeechLM, sample: Sample, plan: Plan, summarizer: Summarizer | None = None) -> None:
        self.lm, self.sample, self.plan, self.summarizer = lm, sample, plan, summarizer
        self.recording: Recording | None = None

    @cached_property
    def query(self) -> Query:
        return self.lm.query(self.sample.question, self.sample.choices)

    @cached_property
    def prior(self) -> tuple[float, ...]:
        return self._loglikelihoods(self.lm.prompt(None, self.query))

    def answers(self, todo: Todo) -> list[Record]:
        """A record of every method in every order."""
        records = []
        for method in dict.fromkeys(method for method, _ in todo):
            mine = [order for each, order in todo if each == method]
            try:
                records += self._method(method, mine)
            except (AudioError, ContextLengthError, DataError, QueryError) as error:
                records += [replace(self._blank(method), order=order, error=str(error)) for order in mine]
        return records

    def _method(self, method: Method, listed: Sequence[tuple[int, ...]]) -> list[Record]:
        read, blank = self._read(method)
        if self.sample.choices and self.plan.protocol == "loglikelihood":
            _ = self.prior  # shared by all methods, and no part of any one's time
        records = []
        for order in listed:
            start = now()
            record = self._answer(replace(blank, order=order), read)
            records.append(replace(record, seconds={**record.seconds, "answer": now() - start}))
        return records

    def _blank(self, method: Method) -> Record:
        sample = self.sample
        return Record(
            sample=sample.id,
            recording=sample.recording or sample.id,
            method=method.name,
            choices=sample.choices,
            correct=sample.correct,
            order=(),
            pruning_rate=method.pruning_rate,
            groups=dict(sample.groups),
            task=sample.task,
            question="" if sample.choices else sample.question,
            reference=sample.reference,
        )

    def _read(self, method: Method) -> tuple[Read, Record]:
        """What the LLM reads of the recording, and what is known about it before it answers."""
        blank = self._blank(method)
        if method.reads == "nothing":
            return None, blank
        if method.reads == "transcript":
            if not self.sample.transcript:
                raise DataError(f"Sample {self.sample.id} has no transcript.")
            return as_tokens(self.lm, self.sample.transcript), blank
        if method.pruner is None and method.compression_ratio is None:
            raise OptionError(f"The method '{method.name}' reads speech, but neither prunes nor summarizes.")
        if self.recording is None:
            self.recording = encode(self.lm, self.sample.load(), SAMPLE_RATE)
        tokens = self.recording.tokens
        start = now()
        reduced = Reduced(torch.arange(len(tokens)))
        if method.pruner:
            reduced = method.pruner.reduce(tokens, self.query, self.lm)
        read = (
            self._summarized(reduced.tokens(tokens), method)
            if method.compression_ratio
            else Pruned(tokens, reduced)
        )
        took = now() - start
        blank = replace(
            blank,
            audio_tokens=len(tokens),
            kept_tokens=len(read),
            recall=None if method.compression_ratio else self._recall(reduced.keep, tokens),
            position=self._position(),
            seconds={"encode": self.recording.encode_seconds, "prune": took},
        )
        return read, blank

    def _summarized(self, tokens: AudioTokens, method: Method) -> Memory:
        """The memory of the tokens."""
        if self.summarizer is None or method.compression_ratio is None:
            raise OptionError(f"The method '{method.name}' summarizes, but no summarizer was given.")
        options = self.summarizer.at(method.compression_ratio)
        options = replace(options, boundaries=method.boundaries or options.boundaries)
        return self.summarizer.summarize(tokens, options=options)

    def _answer(self, record: Record, read: Read) -> Record:
        if not self.sample.choices:
            most = self.sample.max_new_tokens
            if self.plan.max_new_tokens is not None and most > SHORT_TOKENS:
                most = self.plan.max_new_tokens
            return replace(record, answer=self.lm.generate(self._prompt(read), most))
        if self.plan.protocol == "generate":
            prompt = self._prompt(read, [self.sample.choices[i] for i in record.order])
            return replace(record, answer=self.lm.generate(prompt, ANSWER_TOKENS))
        found = self.prior if read is None else self._loglikelihoods(self._prompt(read))
        return replace(record, loglikelihoods=found, prior=() if read is None else self.prior)

    def _prompt(self, read: Read, listed: Sequence[str] | None = None) -> SpeechPrompt:
        if isinstance(read, Memory) and self.summarizer:
            return self.summarizer.prompt(read, self.query, listed)
        if isinstance(read, Pruned):
            return read.reduced.prompt(self.lm.prompt(read.tokens, self.query, listed))
        return self.lm.prompt(read if isinstance(read, AudioTokens) else None, self.query, listed)

    def _loglikelihoods(self, prompt: SpeechPrompt) -> tuple[float, ...]:
        found = self.lm.loglikelihood(prompt, self.sample.choices)
        if not torch.isfinite(found).all():
            raise ModelError(f"The likelihoods of {self.lm.name} are not finite; load it in bfloat16 or float32.")
        return tuple(found.tolist())

    def _recall(self, keep: Int[Tensor, "kept"], tokens: AudioTokens) -> float | None:
        if not self.sample.evidence or not tokens.aligned:
            return None
        try:
            return evidence_recall(keep, tokens.times, self.sample.evidence)
        except OptionError:  # the evidence is shorter than a token, or lies outside the recording
            return None

    def _position(self) -> float | None:
        if not self.sample.evidence or self.recording is None:
            return None
        start, end = self.sample.evidence[0][0], self.sample.evidence[-1][1]
        return min((start + end) / 2 / self.recording.duration, 1.0)


def as_tokens(lm: SpeechLM, transcript: str) -> AudioTokens:
    """A text in the place of speech tokens: the LLM's own embeddings of it, at nominal times."""
    read: Query = lm.query(transcript)
    starts = torch.arange(len(read.ids)) / lm.tokens_per_second
    return AudioTokens(read.embeds, torch.stack([starts, starts + 1 / lm.tokens_per_second], 1).float(), False)


def use_threads(parts: int) -> None:
    """Shares the cores between processes: two with a thread each are faster than one with two."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // parts))
