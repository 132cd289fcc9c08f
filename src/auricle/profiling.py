"""What each method costs on a given model, recording and machine: the columns of SpeechPrune's Table 1.

Measured stands beside computed: operations by `torch.utils.flop_counter` and by formula, memory by torch's
allocators and by formula. The formulas are in `auricle.cost`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from statistics import median
from typing import Any, Literal, cast

import torch
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from auricle.asking import Recording
from auricle.cost import Decoder, Memory
from auricle.errors import ContextLengthError, OptionError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.pruning.base import Pruner
from auricle.pruning.first30 import First30
from auricle.pruning.full import Full
from auricle.pruning.speechprune import SpeechPrune
from auricle.registry import pruner_name
from auricle.speech_lm import AudioTokens, Query, SpeechPrompt
from auricle.summarization.asking import NAME
from auricle.summarization.summarizer import Summarization, Summarizer
from auricle.timing import now

Method = Pruner | Summarization
_Job = tuple[Literal["prefill", "keep"], int]

# Attention kernels that the counter does not know on every device, or not with grouped key heads.
_FUSED = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)

# The paper's Table 1, with all of the recording as the first row.
METHODS: tuple[Method, ...] = (Full(), First30(), *(SpeechPrune(rate) for rate in (0.2, 0.4, 0.6, 0.8)))


@dataclass(frozen=True)
class Prefill:
    """What reading the prompt took on this machine.

    Attributes:
        tflops: 10^12 operations, counted while it ran.
        seconds: median wall time.
        peak_memory: bytes of the model and of the most that was held beside it at any moment; None on devices
            where torch cannot say.
    """

    tflops: float
    seconds: float
    peak_memory: int | None


@dataclass(frozen=True)
class Row:
    """The cost of one method.

    Attributes:
        method: its name.
        pruning_rate: fraction removed; None for methods without a rate.
        speech_tokens: that the LLM sees, as tokens or as the key/value pairs that stand for them; in its last
            layer, where a method drops some inside the LLM.
        total_tokens: that the LLM sees, with template and question.
        tflops_formula: 10^12 operations of the prefill.
        memory_formula: bytes of weights, key/value cache and activations.
        prefill: as measured; None where the prompt does not fit into the model's context.
        overhead_seconds: median wall time of choosing the tokens, or of summarizing them, once for all questions.
        overhead_share: that, as a share of the unpruned prefill's time; None where that does not fit.
        compression_ratio: speech tokens per SST; None for pruners.
    """

    method: str
    pruning_rate: float | None
    speech_tokens: int
    total_tokens: int
    tflops_formula: float
    memory_formula: Memory
    prefill: Prefill | None
    overhead_seconds: float
    overhead_share: float | None
    compression_ratio: int | None = None


def profile(
    lm: HuggingFaceSpeechLM,
    recording: Recording,
    query: Query,
    methods: Sequence[Method] = METHODS,
    *,
    summarizer: Summarizer | None = None,
    repeats: int = 5,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Row, ...]:
    """Profiles the prefill of a question to a recording, method by method.

    Times are medians over `repeats` rounds after one to warm up. A round takes every method in turn, so that a
    machine that is busy for a moment slows all of them alike. Operations and memory are counted in other runs.
    Classes that make logits for every token whatever they are asked (Qwen2-Audio) measure above the formula.

    Args:
        lm: the Speech LLM that encoded the recording.
        recording: from `auricle.encode`.
        query: the question.
        methods: what to compare; the unpruned prefill is timed also if `Full` is not among them.
        summarizer: of the methods that summarize.
        repeats: timed rounds.
        on_step: called after every step with the steps done and all steps.

    Raises:
        OptionError: `repeats` is not positive, or a method summarizes and there is no summarizer.
        ContextLengthError: a memory would leave no room for a question; it says which ratio would fit.
    """
    if repeats < 1:
        raise OptionError(f"repeats is {repeats}; expected at least 1.")
    if summarizer is None and any(isinstance(each, Summarization) for each in methods):
        raise OptionError("A method summarizes; give the summarizer, too.")
    tokens = recording.tokens
    whole = lm.prompt(tokens, query)
    others = len(whole) - len(tokens)
    prompts = [whole, *(_prompt(whole, tokens, query, each, lm, summarizer) for each in methods)]
    # Whoever keeps everything shares the unpruned prompt's figures, which stand at 0.
    place = [0 if len(each) == len(whole) and each.later is None else i for i, each in enumerate(prompts)]
    steps = _Steps(len(set(place)) + repeats + 1, on_step)
    counts = {i: _count(lm, prompts[i], steps) for i in sorted(set(place))}
    jobs: dict[_Job, Callable[[], object]] = {
        ("prefill", i): partial(lm.prefill, prompts[i]) for i, count in counts.items() if count
    }
    jobs |= {("keep", i): _choice(tokens, query, each, lm, summarizer) for i, each in enumerate(methods, 1)}
    seconds = _medians(jobs, repeats, steps)
    unpruned = seconds.get(("prefill", 0))
    rows = []
    for i, method in enumerate(methods, 1):
        count, overhead = counts[place[i]], seconds["keep", i]
        prefill = Prefill(count.flops / 1e12, seconds["prefill", place[i]], count.peak_memory) if count else None
        rows.append(
            Row(
                method=pruner_name(method) if isinstance(method, Pruner) else NAME,
                pruning_rate=getattr(method, "pruning_rate", None),
                speech_tokens=_seen(prompts[i]) - others,
                total_tokens=_seen(prompts[i]),
                tflops_formula=_flops(lm, prompts[i]) / 1e12,
                memory_formula=_memory(lm, prompts[i]),
                prefill=prefill,
                overhead_seconds=overhead,
                overhead_share=unpruned and overhead / unpruned,
                compression_ratio=getattr(method, "compression_ratio", None),
            )
        )
    return tuple(rows)


def count_flops(run: Callable[[], object]) -> int:
    """Operations of `run`, as `torch.utils.flop_counter` counts them, with fused attention on every device."""
    formulas = {getattr(torch.ops.aten, name): _attention_flops for name in _FUSED if hasattr(torch.ops.aten, name)}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    return int(counter.get_total_flops())


def peak_growth(run: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes that `run` held at any moment beside those held before, by torch's allocators.

    On CUDA that is the allocators' own maximum, over all GPUs. On a CPU, where torch keeps none, it is the highest
    sum of all allocations and releases that the profiler saw; unlike the resident size of the process, it is exact
    and repeatable. None on other devices.
    """
    if device.type == "cuda":
        devices = range(torch.cuda.device_count())
        for each in devices:
            torch.cuda.reset_peak_memory_stats(each)
        before = sum(torch.cuda.memory_allocated(each) for each in devices)
        run()
        return sum(torch.cuda.max_memory_allocated(each) for each in devices) - before
    if device.type != "cpu":
        return None
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    results: Any = recorded.profiler
    changes = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate((int(event.nbytes()) for event in changes), initial=0))


@dataclass(frozen=True)
class _Count:
    flops: int
    peak_memory: int | None


class _Steps:
    """Tells a listener how far along the work is."""

    def __init__(self, total: int, listener: Callable[[int, int], None] | None) -> None:
        self.finished, self.total, self.listener = 0, total, listener

    def step(self) -> None:
        self.finished += 1
        if self.listener:
            self.listener(self.finished, self.total)


def _count(lm: HuggingFaceSpeechLM, prompt: SpeechPrompt, steps: _Steps) -> _Count | None:
    """Operations and peak memory of one prefill each; None where the prompt does not fit into the context."""
    run = partial(lm.prefill, prompt)
    try:
        flops = count_flops(run)
    except ContextLengthError:
        return None
    finally:
        steps.step()
    growth = peak_growth(run, lm.device)
    return _Count(flops, None if growth is None else lm.model.get_memory_footprint() + growth)


def _medians(jobs: Mapping[_Job, Callable[[], object]], repeats: int, steps: _Steps) -> dict[_Job, float]:
    """Median seconds of each job; all are run in turn, and the first round does not count."""
    seconds: dict[_Job, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, job in jobs.items():
            start = now()
            job()
            seconds[name].append(now() - start)
        steps.step()
    return {name: median(each[1:]) for name, each in seconds.items()}


def _prompt(
    whole: SpeechPrompt,
    tokens: AudioTokens,
    query: Query,
    method: Method,
    lm: HuggingFaceSpeechLM,
    summarizer: Summarizer | None,
) -> SpeechPrompt:
    """What the LLM reads if a method chooses."""
    if isinstance(method, Pruner):
        return method.reduce(tokens, query, lm).prompt(whole)
    maker = cast(Summarizer, summarizer)
    return maker.prompt(maker.summarize(tokens, options=method), query)


def _choice(
    tokens: AudioTokens, query: Query, method: Method, lm: HuggingFaceSpeechLM, summarizer: Summarizer | None
) -> Callable[[], object]:
    """What a method does before the LLM reads the question."""
    if isinstance(method, Pruner):
        return partial(method.reduce, tokens, query, lm)
    return partial(cast(Summarizer, summarizer).summarize, tokens, options=method)


def _seen(prompt: SpeechPrompt) -> int:
    """What the LLM's last layer sees."""
    return len(prompt) if prompt.later is None else int(prompt.later.stays.sum())


def _parts(lm: HuggingFaceSpeechLM, prompt: SpeechPrompt) -> tuple[tuple[Decoder, int], ...]:
    """The decoder's layers, in one or two parts, with the tokens that each part reads."""
    decoder, read = _decoder(lm), prompt.embeds.shape[1]
    if prompt.later is None:
        return ((decoder, read),)
    first = replace(decoder, layers=prompt.later.layer)
    return (first, read), (replace(decoder, layers=decoder.layers - first.layers), _seen(prompt))


def _flops(lm: HuggingFaceSpeechLM, prompt: SpeechPrompt) -> int:
    past, head = len(prompt) - prompt.embeds.shape[1], _decoder(lm).flops(0).total
    return head + sum(part.flops(read, logits=0, past=past).total for part, read in _parts(lm, prompt))


def _decoder(lm: HuggingFaceSpeechLM) -> Decoder:
    return Decoder.of(lm.model.config)


def _memory(lm: HuggingFaceSpeechLM, prompt: SpeechPrompt) -> Memory:
    config, each = lm.model.config.get_text_config(), prompt.embeds.element_size()
    eager = getattr(config, "_attn_implementation", None) == "eager"
    past = len(prompt) - prompt.embeds.shape[1]
    return Memory(
        weights=lm.model.get_memory_footprint(),
        kv=sum(part.kv(read + past, each) for part, read in _parts(lm, prompt)),
        activations=_decoder(lm).activations(prompt.embeds.shape[1], each, stored_attention=eager),
    )


def _attention_flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object) -> int:
    """From shapes (batch, heads, tokens, head_dim); key heads that are shared cost as if they were not."""
    batch, heads, tokens, head_dim = q
    return 2 * batch * heads * tokens * k[2] * (head_dim + v[3])
