"""What a Speech LLM writes down when it is asked to transcribe, window by window."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from auricle.asking import Recording, Source, encode
from auricle.audio import WINDOW_SECONDS
from auricle.speech_lm import AudioTokens, SpeechLM

INSTRUCTION = "Transcribe the speech."


@dataclass(frozen=True)
class Segment:
    """What was said in a window.

    Attributes:
        start: seconds from the start of the recording.
        end: seconds.
        text: the words.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    Attributes:
        text: all of it.
        segments: window by window.
        model: the Speech LLM's name.
    """

    text: str
    segments: tuple[Segment, ...]
    model: str

    def to_json(self) -> str:
        """One JSON object with these attributes as keys."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


def transcribe(
    lm: SpeechLM,
    source: Recording | Source,
    *,
    sampling_rate: int | None = None,
    max_new_tokens: int = 256,
    on_window: Callable[[int, int], None] | None = None,
) -> Transcript:
    """Has the model write down a recording of any length, at most 30 s at a time and unpruned, by `INSTRUCTION`.

    Windows end in pauses where the model says which tokens are silence, and silence alone is not asked; see
    `windows_of`.

    Args:
        lm: the Speech LLM.
        source: a file, an array together with `sampling_rate`, or what `encode` made of either with this model.
        sampling_rate: Hz, for an array only.
        max_new_tokens: where the text of a window ends at the latest.
        on_window: called after every window with the windows done and all windows.
    """
    recording = source if isinstance(source, Recording) else encode(lm, source, sampling_rate)
    query = lm.query(INSTRUCTION)
    windows = windows_of(recording.tokens)
    starts = [round(float(recording.tokens.times[first, 0]), 3) for first, _ in windows]
    segments = []
    for done, (first, last) in enumerate(windows, 1):
        tokens = recording.tokens.select(torch.arange(first, last))
        text = lm.generate(lm.prompt(tokens, query), max_new_tokens) if tokens.embeds.any() else ""
        end = starts[done] if done < len(starts) else round(recording.duration, 3)
        segments.append(Segment(starts[done - 1], end, text))
        if on_window:
            on_window(done, len(windows))
    joined = " ".join(segment.text for segment in segments if segment.text)
    return Transcript(joined, tuple(segments), lm.name)


def windows_of(tokens: AudioTokens) -> list[tuple[int, int]]:
    """First and last (exclusive) speech tokens of windows of at most 30 s.

    A window ends in the middle of the longest silence of its second half, so that no phrase is cut in two. Silence
    is what auricle-mini makes of it, the vector zero; where a model's tokens never are, windows have 30 s.
    """
    silent, starts = ~tokens.embeds.any(1).cpu(), tokens.times[:, 0].contiguous()
    found, first = list[tuple[int, int]](), 0
    while first < len(tokens):
        last = int(torch.searchsorted(starts, starts[first] + WINDOW_SECONDS))
        if last < len(tokens):
            last = _pause(silent, first + (last - first) // 2, last)
        found.append((first, last))
        first = last
    return found


def _pause(silent: Bool[Tensor, "tokens"], start: int, end: int) -> int:
    """The middle of the longest silence between two tokens, the last one of equals; the end if there is none."""
    best, longest, run = end, 0, 0
    for at in range(start, end):
        run = run + 1 if silent[at] else 0
        if run and run >= longest:
            best, longest = at + 1 - run // 2, run
    return best
