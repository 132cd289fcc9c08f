"""Voices a dialogue and says when every sentence is spoken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr

from auricle.audio import Waveform
from auricle.errors import MissingDependencyError, OptionError
from auricle.synthesis.base import Speech, Voice
from auricle.synthesis.reading import as_spoken
from auricle.synthesis.style_tts2 import StyleTTS2Voice

SENTENCE_PAUSE = (0.15, 0.4)  # seconds, drawn uniformly
TURN_PAUSE = (0.4, 0.9)
LOUDNESS = -23.0  # LUFS of every sentence, the level of EBU R 128
LOUDNESS_SECONDS = 0.4  # the block of ITU-R BS.1770; a shorter sentence has no loudness
HIGHEST_PEAK = 0.99
SILENCE_DB = -45.0  # below a sentence's loudest frame; its edges below that are cut off
FRAME_SECONDS = 0.01
ARTIFACT_SAMPLES = 50  # at an utterance's end, at the engine's rate (SPIRAL, appendix B.3)


@dataclass(frozen=True)
class Turn:
    """What one speaker says before the next one does."""

    speaker: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence of a recording.

    Attributes:
        speaker: who says it.
        text: as it was given, which is not always as it is read aloud (`reading.as_spoken`).
        start: seconds, where its sound begins, behind the pause.
        end: seconds, where its sound ends.
    """

    speaker: str
    text: str
    start: float
    end: float


@dataclass(frozen=True)
class SpokenDialogue:
    """A voiced dialogue.

    Attributes:
        waveform: float32 mono in -1..1.
        sampling_rate: Hz.
        sentences: in the order of the recording, without overlap.
    """

    waveform: Waveform
    sampling_rate: int
    sentences: tuple[SpokenSentence, ...]


def voice_dialogue(
    turns: Sequence[Turn],
    voices: Mapping[str, Voice],
    rng: np.random.Generator,
    *,
    speeds: Mapping[str, float] | None = None,
    sampling_rate: int = 24_000,
) -> SpokenDialogue:
    """Speaks the turns one after the other, every sentence at -23 LUFS (quieter where it would clip).

    Numbers, symbols and abbreviations are read as a person would (`reading.as_spoken`). The last 50 samples of an
    utterance are dropped (SPIRAL, appendix B.3). Engines' own silence at the edges of a sentence is replaced by
    drawn pauses: 0.15 to 0.4 s between sentences, at the beginning and at the end, 0.4 to 0.9 s between turns.

    Args:
        turns: at least one, none without sentences.
        voices: one per speaker.
        rng: draws the pauses.
        speeds: 0.5 to 2 per speaker; 1 for those not named.
        sampling_rate: Hz, of the recording.

    Raises:
        OptionError: nothing to say, a speaker without a voice, or a speed out of range.
        SynthesisError, MissingDependencyError: from the engine, or pyloudnorm or num2words is not installed.
    """
    _check(turns, voices)
    spoken = _speak(turns, voices, speeds or {})
    parts: list[Waveform] = []
    sentences: list[SpokenSentence] = []
    position = 0
    for turn in turns:
        for number, text in enumerate(turn.sentences):
            low, high = TURN_PAUSE if sentences and number == 0 else SENTENCE_PAUSE
            pause = round(rng.uniform(low, high) * sampling_rate)
            sound = level(trim(resample(next(spoken[turn.speaker]), sampling_rate)))
            start = position + pause
            position = start + sound.waveform.size
            parts += [np.zeros(pause, dtype=np.float32), sound.waveform]
            sentences.append(SpokenSentence(turn.speaker, text, start / sampling_rate, position / sampling_rate))
    parts.append(np.zeros(round(rng.uniform(*SENTENCE_PAUSE) * sampling_rate), dtype=np.float32))
    return SpokenDialogue(np.concatenate(parts), sampling_rate, tuple(sentences))


def resample(speech: Speech, sampling_rate: int) -> Speech:
    """Converts the sampling rate."""
    if speech.sampling_rate == sampling_rate:
        return speech
    waveform = soxr.resample(speech.waveform, speech.sampling_rate, sampling_rate)
    return Speech(np.asarray(waveform, dtype=np.float32), sampling_rate)


def trim(speech: Speech) -> Speech:
    """Cuts the silence off both ends: frames of 10 ms more than 45 dB below the loudest one."""
    frame = max(1, round(FRAME_SECONDS * speech.sampling_rate))
    padded = np.pad(speech.waveform, (0, -speech.waveform.size % frame))
    power = np.mean(np.square(padded.reshape(-1, frame), dtype=np.float64), axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    return Speech(speech.waveform[loud[0] * frame : (loud[-1] + 1) * frame], speech.sampling_rate)


def loudness(speech: Speech) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4), or the RMS in dBFS where it has none: below 0.4 s or -70 LUFS.

    Raises:
        MissingDependencyError: pyloudnorm is not installed.
    """
    try:
        import pyloudnorm
    except ImportError as error:
        raise MissingDependencyError("pyloudnorm is not installed; install auricle[synthesis].") from error
    if speech.seconds >= LOUDNESS_SECONDS:
        integrated = float(pyloudnorm.Meter(speech.sampling_rate).integrated_loudness(speech.waveform))
        if np.isfinite(integrated):
            return integrated
    return float(10 * np.log10(np.mean(np.square(speech.waveform, dtype=np.float64))))


def level(speech: Speech) -> Speech:
    """Brings speech to a `loudness` of -23, or as near as it can without clipping.

    Raises:
        MissingDependencyError: pyloudnorm is not installed.
    """
    gain = min(10 ** ((LOUDNESS - loudness(speech)) / 20), HIGHEST_PEAK / np.abs(speech.waveform).max())
    return Speech((speech.waveform * gain).astype(np.float32), speech.sampling_rate)


def _speak(
    turns: Sequence[Turn], voices: Mapping[str, Voice], speeds: Mapping[str, float]
) -> dict[str, Iterator[Speech]]:
    """Speaks all sentences of a speaker in one call, which spares engines that load a model; without artifacts."""
    texts: dict[str, list[str]] = {}
    for turn in turns:
        texts.setdefault(turn.speaker, []).extend(map(as_spoken, turn.sentences))
    return {
        speaker: _without_artifacts(voices[speaker], voices[speaker].speak_all(lines, speeds.get(speaker, 1.0)))
        for speaker, lines in texts.items()
    }


def _without_artifacts(voice: Voice, spoken: Sequence[Speech]) -> Iterator[Speech]:
    if isinstance(voice, StyleTTS2Voice):  # its package has already dropped them
        return iter(spoken)
    return (replace(speech, waveform=speech.waveform[:-ARTIFACT_SAMPLES]) for speech in spoken)


def _check(turns: Sequence[Turn], voices: Mapping[str, Voice]) -> None:
    if not turns:
        raise OptionError("There are no turns; pass at least one.")
    for number, turn in enumerate(turns):
        if not turn.sentences:
            raise OptionError(f"Turn {number} of '{turn.speaker}' has no sentences; leave it out.")
        if turn.speaker not in voices:
            raise OptionError(f"Speaker '{turn.speaker}' has no voice; the voices are for {', '.join(voices)}.")
