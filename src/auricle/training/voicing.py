"""Gives texts voices for training: talks sentence by sentence, and single sentences packed into windows."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS, Waveform
from auricle.errors import SynthesisError
from auricle.synthesis import Turn, Voice, voice, voice_dialogue
from auricle.synthesis.base import Speech
from auricle.synthesis.dialogue import SpokenDialogue, resample, trim
from auricle.training.text import sentences

# Voices with their share of the sentences. Kokoro's `jf_alpha` and `jm_kumo` are left out: no training hears them.
VOICES: Mapping[str, float] = {
    "flite/slt": 0.08,
    "flite/slt@150": 0.02,
    "flite/slt@220": 0.03,
    "flite/awb": 0.07,
    "flite/awb@170": 0.02,
    "flite/rms": 0.07,
    "flite/kal16": 0.12,
    "piper/joe": 0.32,
    "espeak/en-us": 0.10,
    "espeak/en-us+f3": 0.03,
    "espeak/en-gb+m3": 0.03,
    "espeak/en-gb+f2": 0.03,
    "espeak/en-us+m7": 0.03,
    "kokoro/jf_gongitsune": 0.02,
    "kokoro/jf_nezumi": 0.01,
    "kokoro/jf_tebukuro": 0.01,
    "kokoro/jf_nezumi+jf_gongitsune": 0.01,
}
FULL = 0.75  # part of the windows of single sentences that are filled up to 30 s
SPEEDS = (0.8, 1.25)
SIZES = (0.88, 1.14)  # by how much a speaker's pitch and formants are moved, together


@dataclass(frozen=True)
class Spoken:
    """A sentence as spoken, at 16 kHz."""

    text: str
    waveform: Waveform


@dataclass(frozen=True)
class Said:
    """A sentence of a window, and where it ends: in the middle of the pause behind it, in seconds."""

    text: str
    end: float


@dataclass(frozen=True)
class Window:
    """At most 30 s of sentences at 16 kHz."""

    said: tuple[Said, ...]
    waveform: Waveform


@final
@dataclass(frozen=True)
class Sized(Voice):
    """A voice as of a larger (below 1) or smaller (above 1) speaker, as of a tape that runs at another speed."""

    voice: Voice
    size: float

    @override
    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        spoken = self.voice.speak_all(lines, min(max(speed / self.size, 0.5), 2.0))
        return [replace(speech, sampling_rate=round(speech.sampling_rate * self.size)) for speech in spoken]


def speak_talk(
    turns: Sequence[Turn], voices: Mapping[str, float], files: Path, rng: np.random.Generator
) -> SpokenDialogue:
    """Speaks a talk, a voice of its own for each speaker."""
    speakers = list(dict.fromkeys(turn.speaker for turn in turns))
    drawn = rng.choice(list(voices), size=len(speakers), p=_shares(voices), replace=False)
    cast = {s: _sized(voice(str(name), files), rng) for s, name in zip(speakers, drawn, strict=True)}
    speeds = {speaker: float(rng.uniform(*SPEEDS)) for speaker in speakers}
    return voice_dialogue(turns, cast, rng, speeds=speeds, sampling_rate=SAMPLE_RATE)


def cut(spoken: SpokenDialogue) -> Iterator[Window]:
    """Cuts a recording between its sentences into windows of at most 30 s.

    Raises:
        SynthesisError: a sentence with its pauses is longer than a window.
    """
    following = [sentence.start for sentence in spoken.sentences[1:]]
    ends = [(one.end + start) / 2 for one, start in zip(spoken.sentences, following, strict=False)]
    ends.append(len(spoken.waveform) / SAMPLE_RATE)
    start, said = 0.0, list[Said]()
    for sentence, before, end in zip(spoken.sentences, [0.0, *ends], ends, strict=False):
        if end - before > WINDOW_SECONDS:
            raise SynthesisError(
                f"{sentence.text!r} takes {end - before:.0f} s; a window takes {WINDOW_SECONDS:.0f} s: split the"
                " sentence."
            )
        if end - start > WINDOW_SECONDS:
            yield _window(spoken, said, start)
            start, said = before, []
        said.append(Said(sentence.text, end - start))
    yield _window(spoken, said, start)


def _window(spoken: SpokenDialogue, said: list[Said], start: float) -> Window:
    first, last = round(start * SAMPLE_RATE), round((start + said[-1].end) * SAMPLE_RATE)
    return Window(tuple(said), spoken.waveform[first:last][:WINDOW_SAMPLES])


def speak(
    voices: Mapping[str, float], files: Path, words: Sequence[str], count: int, rng: np.random.Generator
) -> list[Spoken]:
    """Speaks single sentences, each by a drawn voice at a drawn speed, in a random order."""
    texts = list(islice(sentences(int(rng.integers(2**31)), words=words), count))
    drawn = rng.choice(list(voices), size=len(texts), p=_shares(voices))
    groups: dict[tuple[str, float, float], list[str]] = defaultdict(list)
    for text, name in zip(texts, drawn, strict=True):
        # piper loads its model for every call, so it has fewer speeds a shard.
        speed = rng.choice([0.9, 1.1]) if name.startswith("piper") else rng.uniform(*SPEEDS)
        size = rng.choice([1.0, 1.08]) if name.startswith("piper") else rng.uniform(*SIZES)
        groups[str(name), round(float(speed), 2), round(float(size), 2)].append(text)
    spoken: list[Spoken] = []
    for (name, speed, size), lines in groups.items():
        one = voice(name, files)
        speeches = Sized(name, one.gender, one, size).speak_all(lines, speed)
        heard = [resample(trim(speech), SAMPLE_RATE).waveform for speech in speeches]
        spoken += [Spoken(text, waveform) for text, waveform in zip(lines, heard, strict=True)]
    return [spoken[i] for i in rng.permutation(len(spoken))]


def pack(utterances: Sequence[Spoken], rng: np.random.Generator, full: float = FULL) -> Iterator[Window]:
    """Joins utterances, with pauses of 0.1 to 1 s and levels of their own, into windows of at most 30 s."""
    waiting = [u for u in utterances if len(u.waveform) < WINDOW_SAMPLES - SAMPLE_RATE]
    while waiting:
        seconds = WINDOW_SECONDS if rng.random() < full else rng.uniform(2, WINDOW_SECONDS)
        room = int(seconds * SAMPLE_RATE)
        parts, said, length = [_silence(rng)], list[Said](), 0
        while waiting and (not said or length + len(waiting[-1].waveform) + SAMPLE_RATE <= room):
            utterance = waiting.pop()
            gain = 10 ** (rng.uniform(-6, 6) / 20)
            parts += [(utterance.waveform * gain).astype(np.float32), _silence(rng)]
            length = sum(map(len, parts))
            said.append(Said(utterance.text, min(length - len(parts[-1]) / 2, WINDOW_SAMPLES) / SAMPLE_RATE))
        yield Window(tuple(said), np.concatenate(parts)[:WINDOW_SAMPLES])


def _sized(one: Voice, rng: np.random.Generator) -> Voice:
    return Sized(one.name, one.gender, one, float(rng.uniform(*SIZES)))


def _shares(voices: Mapping[str, float]) -> np.ndarray:
    total = sum(voices.values())
    return np.array([share / total for share in voices.values()])


def _silence(rng: np.random.Generator) -> Waveform:
    return np.zeros(int(rng.uniform(0.1, 1.0) * SAMPLE_RATE), dtype=np.float32)
