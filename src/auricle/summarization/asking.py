"""A recording is summarized once, and its memory asked many times.

```
source -> encode -> summarize -> Memory -> answer(question) -> Answer
```

`ask` summarizes for one question only, of which a pruner may know.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from auricle import audio
from auricle.asking import Answer, Recording, Seconds, Source, Tokens, encode, reply, spans
from auricle.errors import OptionError
from auricle.pruning.base import Pruner, check_before
from auricle.registry import pruner_name
from auricle.speech_lm import Query
from auricle.summarization.memory import Memory
from auricle.summarization.summarizer import Summarization, Summarizer
from auricle.timing import now

NAME = "speech-xl"


def summarize(
    summarizer: Summarizer,
    source: Source,
    options: Summarization | None = None,
    *,
    sampling_rate: int | None = None,
    pruner: Pruner | None = None,
    query: Query | None = None,
    on_window: Callable[[int, int], None] | None = None,
    on_interval: Callable[[int, int], None] | None = None,
) -> Memory:
    """Reads, encodes and summarizes a recording of any length.

    Args:
        summarizer: the Speech LLM with its SSTs.
        source: a file, or an array together with `sampling_rate`.
        options: how; by default those of the summarizer.
        sampling_rate: Hz, for an array only.
        pruner: leaves tokens out before they are summarized; it is told the `query`, which has to be given then.
        query: what the pruner prunes for.
        on_window: called with the windows of at most 30 s encoded and all windows.
        on_interval: called with the intervals summarized and all intervals.

    Raises:
        AudioError: the recording cannot be used.
        OptionError: a pruner was given without a query, or drops tokens inside the LLM.
    """
    if pruner is not None and query is None:
        raise OptionError("A pruner was given without the question that it prunes for; give the query, too.")
    if pruner is not None:
        check_before(pruner.layer)
    waveform = audio.load(source, sampling_rate)
    recording = encode(summarizer.lm, waveform, audio.SAMPLE_RATE, on_window)
    tokens = recording.tokens
    if pruner is not None and query is not None:
        tokens = pruner.reduce(tokens, query, summarizer.lm).tokens(tokens)
    return summarizer.summarize(
        tokens,
        options=options,
        recording=hashlib.sha256(waveform.tobytes()).hexdigest(),
        duration=recording.duration,
        on_interval=on_interval,
    )


def answer(
    summarizer: Summarizer, memory: Memory, query: Query, *, prior: bool = True, max_new_tokens: int = 64
) -> Answer:
    """Answers a question about a memory; see `auricle.asking.answer` for the choice, the score and the errors."""
    prompt = summarizer.prompt(memory, query)
    said = reply(summarizer.lm, prompt, query, prior=prior, max_new_tokens=max_new_tokens)
    about = memory.about
    return Answer(
        answer=said.text,
        choice=said.choice,
        scores=said.scores,
        model=summarizer.lm.name,
        pruner=NAME,
        pruning_rate=None,
        compression_ratio=about.compression_ratio,
        tokens=Tokens(about.speech_tokens, len(memory), len(prompt) - len(memory)),
        kept_spans=spans(memory.times, about.duration),
        seconds=Seconds(0.0, 0.0, said.prefill, said.decode),
    )


def ask(
    summarizer: Summarizer,
    recording: Recording,
    query: Query,
    options: Summarization | None = None,
    pruner: Pruner | None = None,
    *,
    prior: bool = True,
    max_new_tokens: int = 64,
    on_interval: Callable[[int, int], None] | None = None,
) -> Answer:
    """Summarizes a recording, or what a pruner leaves of it, and answers a question about that.

    Args:
        summarizer: the Speech LLM with its SSTs.
        recording: from `auricle.asking.encode`.
        query: the question.
        options: how it is summarized; by default as the summarizer says.
        pruner: leaves tokens out before they are summarized; None leaves all.
        prior: see `auricle.asking.answer`.
        max_new_tokens: see there.
        on_interval: called with the intervals summarized and all intervals.

    Raises:
        OptionError: the pruner drops tokens inside the LLM.
        AuricleError: as for `Summarizer.summarize` and `auricle.asking.answer`.
    """
    start, tokens = now(), recording.tokens
    if pruner is not None:
        tokens = pruner.reduce(tokens, query, summarizer.lm).tokens(tokens)
    memory = summarizer.summarize(tokens, options=options, duration=recording.duration, on_interval=on_interval)
    made = now()
    said = answer(summarizer, memory, query, prior=prior, max_new_tokens=max_new_tokens)
    return replace(
        said,
        pruner=NAME if pruner is None else f"{pruner_name(pruner)} + {NAME}",
        pruning_rate=getattr(pruner, "pruning_rate", None),
        tokens=replace(said.tokens, audio=len(recording.tokens)),
        seconds=replace(said.seconds, encode=recording.encode_seconds, prune=made - start),
    )
