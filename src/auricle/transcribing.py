"""What a Speech LLM writes down when it is asked to transcribe, window by window."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from auricle.asking import Recording, Source, encode
from auricle.audio import WINDOW_SECONDS
from auricle.speech_lm import SpeechLM

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
    """Has the model write down a recording of any length, 30 s at a time and unpruned, by `INSTRUCTION`.

    A word that the cut between two windows goes through may be lost.

    Args:
        lm: the Speech LLM.
        source: a file, an array together with `sampling_rate`, or what `encode` made of either with this model.
        sampling_rate: Hz, for an array only.
        max_new_tokens: where the text of a window ends at the latest.
        on_window: called after every window with the windows done and all windows.
    """
    recording = source if isinstance(source, Recording) else encode(lm, source, sampling_rate)
    query = lm.query(INSTRUCTION)
    window = (recording.tokens.times[:, 0] / WINDOW_SECONDS).long()
    indices = torch.unique(window).tolist()
    segments = []
    for done, index in enumerate(indices, 1):
        tokens = recording.tokens.select((window == index).nonzero()[:, 0])
        text = lm.generate(lm.prompt(tokens, query), max_new_tokens)
        start = float(index * WINDOW_SECONDS)
        segments.append(Segment(start, round(min(start + WINDOW_SECONDS, recording.duration), 3), text))
        if on_window:
            on_window(done, len(indices))
    joined = " ".join(segment.text for segment in segments if segment.text)
    return Transcript(joined, tuple(segments), lm.name)
