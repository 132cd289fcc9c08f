"""Speech-XL: a recording is read interval by interval, and only the SSTs' key/value pairs are kept.

```
AudioTokens -> intervals -> SSTs among the tokens -> the LLM's layers -> the SSTs' pairs -> Memory
Memory, question -> SpeechPrompt -> answer
```

The prompt before the speech and all behind it stay raw. An interval sees that prompt, the SSTs of the intervals
before it, and itself; what is read later sees the prompt, all SSTs and no speech.

Differs from the paper: by default silence is not read and every head keeps the speech's own pairs that it recalls
most, which takes no training; `placement="interleave"` and `silence="read"` are the paper's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from auricle.errors import ContextLengthError, ModelError, OptionError, WeightsError
from auricle.fingerprint import fingerprint
from auricle.key_values import Pairs, no_pairs
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.questions import check_choices
from auricle.speech_lm import AudioTokens, Query, SpeechLM, SpeechPrompt
from auricle.summarization import layout
from auricle.summarization.intervals import Boundaries, Spans, cut
from auricle.summarization.memory import About, Memory
from auricle.summarization.recall import most_recalled
from auricle.summarization.sst import SST, Reader, check, installed, load_sst, new_sst

UNTRAINED = Path("untrained")
PACKAGED = Path(str(files("auricle.models.mini"))) / "sst"
INTERVAL = 480  # speech tokens; 2, 4, 8, 12 and 16 divide it
QUESTION = 128  # tokens of a question and its answer, for which a memory leaves room


@dataclass(frozen=True)
class Summarization:
    """How a recording is summarized.

    Attributes:
        compression_ratio: speech tokens per SST (the paper's alpha).
        interval: speech tokens of an interval, at most.
        boundaries: "fixed" cuts every `interval` tokens, "dynamic" where the speech changes most.
        placement: see `auricle.summarization.layout.marks`.
        silence: "skip" does not read speech tokens that are zero, as auricle-mini's silence is; the SSTs, as many
            as before, but never more than the tokens read, stand for the others.
    """

    compression_ratio: int = 8
    interval: int = INTERVAL
    boundaries: Boundaries = "fixed"
    placement: layout.Placement = "recall"
    silence: layout.Silence = "skip"

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: one of them is too small.
        """
        for name in ("compression_ratio", "interval"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; expected at least 1 speech token.")

    def plan(self, speech: Float[Tensor, "tokens dim"]) -> tuple[Bool[Tensor, "tokens"], Int[Tensor, "summaries"]]:
        """Which tokens of an interval are read, and where among these each SST's end; see `layout.ends`."""
        spoken = layout.spoken(speech, self.silence)
        summaries = self.summaries(len(speech), int(spoken.sum()))
        return spoken, layout.ends(speech[spoken], summaries, self.placement)

    def summaries(self, tokens: int, spoken: int) -> int:
        """SSTs of an interval of so many speech tokens, of which `spoken` are read."""
        return min(layout.ssts(tokens, self.compression_ratio), spoken)


@final
class Summarizer:
    """A Speech LLM with its SSTs."""

    def __init__(self, lm: HuggingFaceSpeechLM, sst: SST, options: Summarization | None = None) -> None:
        """Takes both; neither is changed.

        Args:
            lm: its decoder has to be of the standard kind (Llama's, Qwen2's).
            sst: of that decoder.
            options: how it summarizes; may be replaced for each recording.

        Raises:
            ModelError: the SSTs are not of this decoder, or the decoder cannot summarize.
        """
        check(lm)
        self.lm = lm
        self.sst = sst.to(lm.device)
        self.options = options or Summarization()
        self._decoder: Any = lm.model.get_decoder()
        with installed(self._decoder, sst):
            pass
        self._weights = fingerprint(lm.weights_hash, sst.state_dict().items(), sampled=True)

    @property
    def weights_hash(self) -> str:
        """Of the Speech LLM's weights and the SSTs': a memory is for the weights that made it."""
        return self._weights

    def at(self, compression_ratio: int) -> Summarization:
        """The options with another ratio."""
        return replace(self.options, compression_ratio=compression_ratio)

    @torch.inference_mode()
    def summarize(
        self,
        tokens: AudioTokens,
        *,
        options: Summarization | None = None,
        recording: str = "",
        duration: float | None = None,
        on_interval: Callable[[int, int], None] | None = None,
    ) -> Memory:
        """Reads a recording's speech tokens, all or what a pruner has left, of any length.

        Args:
            tokens: of the recording.
            options: how; by default those of the summarizer.
            recording: SHA-256 of the samples, where it is known.
            duration: seconds of audio; by default where the last token ends.
            on_interval: called with the intervals done and all intervals.

        Raises:
            ContextLengthError: no question could be asked of what would be kept.
        """
        given = options or self.options
        template = self.lm.template("?")
        prefix = template.ids[: template.audio]
        spans = cut(tokens.embeds, given.interval, given.boundaries)
        self._check_room(tokens, spans, given, len(template.ids))
        with installed(self._decoder, self.sst) as reader:
            start = self._read(reader, prefix)
            pairs, times = no_pairs(self._decoder), [tokens.times[:0]]
            for number, (first, last) in enumerate(spans, 1):
                pairs += interval_pairs(reader, self.sst, tokens.embeds[first:last], start + pairs, given)
                spoken, ends = given.plan(tokens.embeds[first:last])
                at = tokens.times[first:last].to(ends.device)[spoken]
                times.append(layout.spans(at, ends, given.placement).to(tokens.times))
                if on_interval:
                    on_interval(number, len(spans))
        end = float(tokens.times[-1, 1]) if len(tokens) else 0.0
        about = About(
            model=self.lm.name,
            weights=self._weights,
            recording=recording,
            duration=end if duration is None else duration,
            speech_tokens=len(tokens),
            compression_ratio=given.compression_ratio,
            prefix=tuple(prefix.tolist()),
        )
        return Memory(pairs, torch.cat(times), about)

    @torch.inference_mode()
    def prompt(self, memory: Memory, query: Query, choices: Sequence[str] | None = None) -> SpeechPrompt:
        """The prompt of a question about a memory, for the Speech LLM's `generate` and `loglikelihood`.

        Args:
            memory: of the recording.
            query: the question.
            choices: if given, they are listed after the question, with letters.

        Raises:
            ModelError: another model made the memory, or this model's prompt before the speech has changed since.
            MemoryFileError: its pairs are not of this model, though it says so.
        """
        memory.check(self.lm.name, self._weights, no_pairs(self._decoder))
        template = self.lm.template(query.text, check_choices(choices) if choices else None)
        prefix = template.ids[: template.audio]
        if tuple(prefix.tolist()) != memory.about.prefix:
            raise ModelError(
                f"The prompt of '{self.lm.name}' begins otherwise than when the memory was made; summarize the"
                " recording again."
            )
        with installed(self._decoder, self.sst) as reader:
            start = self._read(reader, prefix)
        none = torch.zeros(0, dtype=torch.long, device=self.lm.device)
        pairs = Pairs(memory.pairs.keys.to(start.keys), memory.pairs.values.to(start.values))
        return SpeechPrompt(
            self.lm.embed(template.ids[template.audio + 1 :])[None],
            none,
            template.query.to(self.lm.device) - template.audio - 1,
            memory.times[:0],
            past=start + pairs,
        )

    def _check_room(self, tokens: AudioTokens, spans: Spans, given: Summarization, prompt: int) -> None:
        """Whether the LLM's context holds the pairs of all intervals, the prompt around them, and a question."""
        if self.lm.context is None:
            return
        room, spoken = self.lm.context - prompt - QUESTION, layout.spoken(tokens.embeds, given.silence)
        counts = [(last - first, int(spoken[first:last].sum())) for first, last in spans]

        def pairs(ratio: int) -> int:
            return sum(replace(given, compression_ratio=ratio).summaries(*each) for each in counts)

        if (kept := pairs(given.compression_ratio)) <= room:
            return
        fitting = (
            ratio for ratio in range(given.compression_ratio + 1, given.interval + 1) if pairs(ratio) <= room
        )
        ratio = next(fitting, None)
        advice = f"raise the compression ratio to {ratio}" if ratio else "summarize parts of the recording"
        raise ContextLengthError(
            f"At the compression ratio {given.compression_ratio}, {len(tokens)} speech tokens keep {kept} pairs,"
            f" but {self.lm.name} reads at most {self.lm.context} tokens, question and answer among them; {advice}."
        )

    def _read(self, reader: Reader, ids: Tensor) -> Pairs:
        return reader.read(self.lm.embed(ids), no_pairs(self._decoder))[1]


def interval_pairs(
    reader: Reader, sst: SST, speech: Float[Tensor, "tokens dim"], past: Pairs, options: Summarization
) -> Pairs:
    """The pairs of an interval's SSTs.

    Args:
        reader: the decoder with the SSTs.
        sst: their embedding.
        speech: of the interval.
        past: pairs of the prompt before the speech and of the SSTs so far.
        options: ratio, placement and what is read.
    """
    spoken, ends = options.plan(speech)
    embeds, marked = layout.read(speech[spoken], sst.embedding, ends, options.placement)
    pairs = reader.read(embeds, past, marked)[1]
    if options.placement == "recall":
        return most_recalled(reader, embeds, past, pairs, len(ends))
    return pairs.select(marked)


def load(lm: SpeechLM, folder: Path | None = None, options: Summarization | None = None) -> Summarizer:
    """A Speech LLM with SSTs that were trained for it.

    Args:
        lm: the Speech LLM.
        folder: what `auricle train compress` wrote; by default, for auricle-mini, the SSTs of this package.
            `UNTRAINED` are the LLM's own pairs, of any model.
        options: how it summarizes; by default as the SSTs were trained to.

    Raises:
        ModelError: the model is not one of transformers', or cannot summarize.
        OptionError: no folder was given for a model that has no SSTs in this package.
        WeightsError: there are no SSTs in the folder, or they are of another model.
    """
    if not isinstance(lm, HuggingFaceSpeechLM):
        raise ModelError(f"'{lm.name}' cannot summarize; expected a model of transformers.")
    if folder == UNTRAINED:
        sst = new_sst(lm, rank=1)
        for weight in sst.parameters():  # not drawn: a memory is known by the weights that made it
            nn.init.zeros_(weight)
        return Summarizer(lm, sst, options)
    if folder is None and lm.name != "auricle-mini":  # nor for one whose LoRA was trained elsewhere
        raise OptionError(
            f"There are no Speech Summarization Tokens for '{lm.name}' in this package; train them with"
            " 'auricle train compress' and give their folder, or give 'untrained' in its place."
        )
    folder = folder or PACKAGED
    sst, trained = load_sst(lm, folder)
    try:
        return Summarizer(lm, sst, options or Summarization(**trained))
    except TypeError as error:
        raise WeightsError(
            f"'{folder}' was trained to summarize in a way that is not known here: {error}"
        ) from error
