"""A question to a recording: encode, prune, prefill, decode; each step timed, what was kept reported.

```
source -> encode -> Recording -> answer(question, pruner) -> Answer
```

`ask` does both at once. Whoever asks several questions or compares pruners encodes once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from auricle import audio, token_cache
from auricle.errors import ModelError, OptionError
from auricle.pruning.base import Pruner
from auricle.pruning.speechprune import SpeechPrune
from auricle.questions import letter
from auricle.registry import pruner_name
from auricle.speech_lm import AudioTokens, Query, SpeechLM, SpeechPrompt
from auricle.timing import now

Source = str | Path | Shaped[np.ndarray, "..."]
Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Recording:
    """A recording that was encoded once, to be asked many times.

    Attributes:
        tokens: all its speech tokens.
        duration: seconds of audio.
        encode_seconds: how long encoding took, or reading what was encoded before.
    """

    tokens: AudioTokens
    duration: float
    encode_seconds: float


@dataclass(frozen=True)
class Tokens:
    """Token counts of a prompt.

    Attributes:
        audio: speech tokens of the whole recording.
        kept: speech tokens that the LLM read.
        text: all other tokens of the prompt: template, system prompt and question.
    """

    audio: int
    kept: int
    text: int


@dataclass(frozen=True)
class Seconds:
    """Wall time of each step.

    Attributes:
        encode: from samples to speech tokens; the same in every answer about one `Recording`.
        prune: choosing the tokens, and summarizing them for this question.
        prefill: the LLM reading the prompt.
        decode: all that follows: the answer's tokens, or the likelihood of each choice and its prior.
    """

    encode: float
    prune: float
    prefill: float
    decode: float


@dataclass(frozen=True)
class Answer:
    """What came out, and from what.

    Attributes:
        answer: the generated text, or the text of the best choice.
        choice: its letter; None without choices.
        scores: of every choice, by letter, in nats; None without choices.
        model: the Speech LLM's name.
        pruner: the method's name, such as "speechprune", "speech-xl" or "speechprune + speech-xl".
        pruning_rate: fraction removed; None for methods without a rate.
        compression_ratio: speech tokens per SST, where a memory was asked.
        tokens: how many there were, were kept and stood around them.
        kept_spans: what the LLM heard, start and end in seconds, merged. For a model whose tokens do not follow
            time (`AudioTokens.aligned` is False) they are nominal.
        seconds: wall time of each step.
    """

    answer: str
    choice: str | None
    scores: dict[str, float] | None
    model: str
    pruner: str
    pruning_rate: float | None
    compression_ratio: int | None
    tokens: Tokens
    kept_spans: Spans
    seconds: Seconds

    def to_json(self) -> str:
        """One JSON object with these attributes as keys."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


def ask(
    lm: SpeechLM,
    source: Source,
    question: str,
    choices: Sequence[str] = (),
    pruner: Pruner | None = None,
    *,
    sampling_rate: int | None = None,
    prior: bool = True,
    max_new_tokens: int = 64,
) -> Answer:
    """Asks a recording of any length a question; see `answer` for the arguments that are not the recording.

    Args:
        lm: the Speech LLM.
        source: a file, or an array together with `sampling_rate` (see `auricle.audio.load`).
        question: what is asked.
        choices: the possible answers, without letters.
        pruner: which speech tokens the LLM reads; `SpeechPrune()` if omitted.
        sampling_rate: Hz, for an array only.
        prior: see `answer`.
        max_new_tokens: see `answer`.
    """
    query = lm.query(question, choices)  # before the recording is read: a bad question fails at once
    recording = encode(lm, source, sampling_rate)
    return answer(lm, recording, query, pruner, prior=prior, max_new_tokens=max_new_tokens)


def encode(
    lm: SpeechLM,
    source: Source,
    sampling_rate: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Recording:
    """Reads and encodes a recording; what the folder `$AURICLE_TOKENS` holds is not encoded again.

    Args:
        lm: the Speech LLM.
        source: a file, or an array together with `sampling_rate`.
        sampling_rate: Hz, for an array only.
        on_window: called with the windows done and all windows of at most 30 s.

    Raises:
        AudioError: the recording cannot be used (see `auricle.audio.load`).
    """
    waveform = audio.load(source, sampling_rate)
    start = now()
    tokens = token_cache.encode(lm, waveform, audio.SAMPLE_RATE, on_window)
    return Recording(tokens, len(waveform) / audio.SAMPLE_RATE, now() - start)


def answer(
    lm: SpeechLM,
    recording: Recording,
    query: Query,
    pruner: Pruner | None = None,
    *,
    prior: bool = True,
    max_new_tokens: int = 64,
) -> Answer:
    """Answers a question about a recording that is already encoded.

    Without choices the answer is generated. With choices it is the one with the highest score:
    log p(choice | speech, question) - log p(choice | question), so that a choice does not win by being likely
    anyway ("Surface Form Competition", Holtzman et al. 2021, section 3). The prompt does not list the choices. They
    follow it as they are, without a space before them: every supported chat template ends where the answer's first
    word begins.

    Args:
        lm: the Speech LLM that encoded the recording.
        recording: from `encode`.
        query: from `lm.query`, with the choices if there are any.
        pruner: which speech tokens the LLM reads; `SpeechPrune()` if omitted.
        prior: False scores by log p(choice | speech, question) alone. Of no effect without choices.
        max_new_tokens: where a generated answer ends at the latest.

    Raises:
        OptionError: `max_new_tokens` is not positive.
        ContextLengthError: the prompt and the answer do not fit into the model's context.
        ModelError: the model's likelihoods are not finite.
    """
    pruner = SpeechPrune() if pruner is None else pruner
    start = now()
    prompt, tokens, kept_spans = shortened(lm, recording, query, pruner)
    pruned = now()
    said = reply(lm, prompt, query, prior=prior, max_new_tokens=max_new_tokens)
    return Answer(
        answer=said.text,
        choice=said.choice,
        scores=said.scores,
        model=lm.name,
        pruner=pruner_name(pruner),
        pruning_rate=getattr(pruner, "pruning_rate", None),
        compression_ratio=None,
        tokens=tokens,
        kept_spans=kept_spans,
        seconds=Seconds(recording.encode_seconds, pruned - start, said.prefill, said.decode),
    )


def shortened(
    lm: SpeechLM, recording: Recording, query: Query, pruner: Pruner
) -> tuple[SpeechPrompt, Tokens, Spans]:
    """The prompt with what a pruner leaves of a recording; how many tokens that is, and when it was said."""
    reduced = pruner.reduce(recording.tokens, query, lm)
    whole = lm.prompt(recording.tokens, query)
    tokens = Tokens(len(recording.tokens), len(reduced.keep), len(whole) - len(recording.tokens))
    return reduced.prompt(whole), tokens, spans(recording.tokens.times[reduced.keep], recording.duration)


@dataclass(frozen=True)
class Reply:
    """What a Speech LLM says to a prompt.

    Attributes:
        text: generated, or of the best choice.
        choice: its letter; None without choices.
        scores: of every choice, by letter, in nats; None without choices.
        prefill: seconds until the prompt was read.
        decode: seconds for all that followed.
    """

    text: str
    choice: str | None
    scores: dict[str, float] | None
    prefill: float
    decode: float


def reply(lm: SpeechLM, prompt: SpeechPrompt, query: Query, *, prior: bool, max_new_tokens: int) -> Reply:
    """Answers a prompt that was made of the query; see `answer` for the arguments, the choice and the errors."""
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens is {max_new_tokens}; expected at least 1.")
    watch = _Watch()
    if not query.choices:
        text = lm.generate(prompt, max_new_tokens, on_prefill=watch.split)
        return Reply(text, None, None, *watch.stop())
    scores = _scores(lm, prompt, query, prior, watch)
    best = max(scores, key=lambda each: scores[each])
    return Reply(query.choices[list(scores).index(best)], best, scores, *watch.stop())


class _Watch:
    """Splits the time since it was made into prefill and decode."""

    def __init__(self) -> None:
        self.start = now()
        self.read = self.start

    def split(self) -> None:
        self.read = now()

    def stop(self) -> tuple[float, float]:
        return self.read - self.start, now() - self.read


def _scores(lm: SpeechLM, prompt: SpeechPrompt, query: Query, prior: bool, watch: _Watch) -> dict[str, float]:
    scores = lm.loglikelihood(prompt, query.choices, on_prefill=watch.split)
    if prior:
        scores = scores - lm.loglikelihood(lm.prompt(None, query), query.choices)
    if not torch.isfinite(scores).all():
        raise ModelError(f"The likelihoods of {lm.name} are not finite; load it in bfloat16 or float32.")
    return {letter(index): score for index, score in enumerate(scores.tolist())}


def spans(times: Float[Tensor, "kept 2"], duration: float) -> Spans:
    """Merged spans in seconds; the last token may reach beyond the recording, its span does not."""
    inside = times[times[:, 0] < duration].clamp(max=duration)
    return tuple((round(start, 3), round(end, 3)) for start, end in audio.spans(inside.numpy()))
