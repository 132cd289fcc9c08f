"""A question about a recording, answered piece by piece: the steps of `auricle.asking.answer`, through an engine.

```
Upload, Question -> tokens or memory -> prune -> SpeechPrompt -> engine -> Piece, Piece ... Answered
```
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import perf_counter

from auricle.asking import Answer, Reply, Seconds, Spans, Tokens, reply, shortened, spans
from auricle.cost import Decoder
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.pruning.base import Pruner
from auricle.registry import pruner_name
from auricle.serving.engine import Decoding, Engine, Finish, Piece, checkpoint
from auricle.serving.recordings import Recordings, Upload
from auricle.speech_lm import Query, SpeechLM, SpeechPrompt
from auricle.summarization.asking import NAME
from auricle.timing import now


@dataclass(frozen=True)
class Question:
    """What is asked, and how the recording is shortened for it.

    Attributes:
        text: the question.
        choices: possible answers; the likeliest is chosen, if there are any.
        pruner: chooses the speech tokens; not used with a `compression_ratio`.
        compression_ratio: speech tokens per SST, where a memory is asked.
        decoding: how the answer is generated.
    """

    text: str
    choices: tuple[str, ...]
    pruner: Pruner
    compression_ratio: int | None
    decoding: Decoding


@dataclass(frozen=True)
class Answered:
    """An answer that is complete.

    Attributes:
        answer: as of `auricle.asking.answer`.
        cached: whether the tokens or the memory were in the store.
        tokens: that were generated, or those of the choice.
        finish: why it ends.
        kv_bytes: of the prompt's keys and values in the LLM; None where its layers are not known.
    """

    answer: Answer
    cached: bool
    tokens: int
    finish: Finish
    kv_bytes: int | None


@dataclass(frozen=True)
class _Prepared:
    """What the LLM is to read, and what is known before it does."""

    prompt: SpeechPrompt
    query: Query
    tokens: Tokens
    kept_spans: Spans
    cached: bool
    encode: float
    prune: float
    kv_bytes: int | None


async def answer(
    engine: Engine, recordings: Recordings, upload: Upload, question: Question
) -> AsyncGenerator[Piece | Answered, None]:
    """The answer's pieces, then the answer; closing the iterator stops what runs.

    Raises:
        AuricleError: the recording or the question cannot be used.
        ApiError: the recording is not kept.
    """
    prepared = await engine.call(partial(_prepare, recordings=recordings, upload=upload, question=question))
    if question.choices:
        said, count = await engine.call(partial(_score, prepared=prepared, decoding=question.decoding))
        yield Piece(said.text, count, "stop")
        yield _answered(engine, question, prepared, said, Piece("", count, "stop"))
        return
    start = read = perf_counter()

    def on_prefill() -> None:
        nonlocal read
        read = now()

    texts, last = [], Piece("", 0, "stop")
    async with aclosing(engine.generate(prepared.prompt, question.decoding, on_prefill)) as pieces:
        async for last in pieces:
            texts.append(last.text)
            yield last
    said = Reply("".join(texts), None, None, read - start, perf_counter() - read)
    yield _answered(engine, question, prepared, said, last)


def _prepare(lm: SpeechLM, stop: Event, *, recordings: Recordings, upload: Upload, question: Question) -> _Prepared:
    query = lm.query(question.text, question.choices)  # a bad question fails before anything slow
    if question.compression_ratio is not None:
        return _remember(lm, stop, recordings, upload, query, question.compression_ratio)
    encoded = recordings.encoded(lm, stop, upload)
    checkpoint(stop)
    recording, start = encoded.recording, now()
    prompt, tokens, kept = shortened(lm, recording, query, question.pruner)
    seconds = now() - start
    held = _kv_bytes(lm, prompt)
    return _Prepared(prompt, query, tokens, kept, encoded.cached, recording.encode_seconds, seconds, held)


def _remember(
    lm: SpeechLM, stop: Event, recordings: Recordings, upload: Upload, query: Query, ratio: int
) -> _Prepared:
    found = recordings.remembered(lm, stop, upload, ratio)
    checkpoint(stop)
    memory = found.memory
    prompt = recordings.summarizer(lm).prompt(memory, query)
    tokens = Tokens(memory.about.speech_tokens, len(memory), len(prompt) - len(memory))
    kept = spans(memory.times, memory.about.duration)
    return _Prepared(prompt, query, tokens, kept, found.cached, found.seconds, 0.0, _kv_bytes(lm, prompt))


def _kv_bytes(lm: SpeechLM, prompt: SpeechPrompt) -> int | None:
    """Bytes of keys and values, in the number format of the model that is here, when the prompt has been read."""
    if not isinstance(lm, HuggingFaceSpeechLM):
        return None
    decoder = Decoder.of(lm.model.config)
    pairs = decoder.layers * len(prompt)
    if prompt.later is not None:  # what is dropped there is in the layers before
        pairs -= (decoder.layers - prompt.later.layer) * int((~prompt.later.stays).sum())
    return decoder.kv(pairs, prompt.embeds.element_size()) // decoder.layers


def _score(lm: SpeechLM, stop: Event, *, prepared: _Prepared, decoding: Decoding) -> tuple[Reply, int]:
    """The likeliest choice, and how many tokens it has."""
    checkpoint(stop)
    said = reply(lm, prepared.prompt, prepared.query, prior=True, max_new_tokens=decoding.max_new_tokens)
    return said, len(lm.query(said.text).ids)


def _answered(engine: Engine, question: Question, prepared: _Prepared, said: Reply, last: Piece) -> Answered:
    remembered = question.compression_ratio is not None
    complete = Answer(
        answer=said.text,
        choice=said.choice,
        scores=said.scores,
        model=engine.lm.name,
        pruner=NAME if remembered else pruner_name(question.pruner),
        pruning_rate=None if remembered else getattr(question.pruner, "pruning_rate", None),
        compression_ratio=question.compression_ratio,
        tokens=prepared.tokens,
        kept_spans=prepared.kept_spans,
        seconds=Seconds(prepared.encode, prepared.prune, said.prefill, said.decode),
    )
    return Answered(complete, prepared.cached, last.tokens, last.finish or "stop", prepared.kv_bytes)
