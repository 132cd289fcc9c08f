from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from auricle.errors import OptionError, SynthesisError
from auricle.synthesis.base import Speech, Voice
from auricle.synthesis.dialogue import SpokenDialogue, Turn, level, trim, voice_dialogue

pyloudnorm = pytest.importorskip("pyloudnorm", reason="needs the extra 'synthesis'")


@dataclass(frozen=True)
class ToneVoice(Voice):
    """Speaks a tone of 50 ms per character between silences, as engines do."""

    hertz: float
    sampling_rate: int
    silence: float = 0.2

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        return [self._tone(0.05 * len(line) / speed) for line in lines]

    def _tone(self, seconds: float) -> Speech:
        times = np.arange(round(seconds * self.sampling_rate)) / self.sampling_rate
        tone = 0.1 * np.sin(2 * np.pi * self.hertz * times)
        silence = np.zeros(round(self.silence * self.sampling_rate))
        return Speech(np.concatenate([silence, tone, silence]).astype(np.float32), self.sampling_rate)


VOICES = {"Ann": ToneVoice("a", "female", 440.0, 16_000), "Bob": ToneVoice("b", "male", 220.0, 22_050)}
TURNS = (
    Turn("Ann", ("Good morning to you.", "It is late.")),
    Turn("Bob", ("Yes.",)),
    Turn("Ann", ("Then let us go home now.", "Are you coming?", "No")),
)


def dialogue(seed: int = 0, **options: object) -> SpokenDialogue:
    return voice_dialogue(TURNS, VOICES, np.random.default_rng(seed), **options)


def test_sentences_hold_all_the_sound_and_nothing_but_sound() -> None:
    spoken = dialogue()
    inside = np.zeros(spoken.waveform.size, dtype=bool)
    for sentence in spoken.sentences:
        start, end = (round(t * spoken.sampling_rate) for t in (sentence.start, sentence.end))
        assert sentence.end - sentence.start == pytest.approx(0.05 * len(sentence.text), abs=0.025)
        blocks = spoken.waveform[start : end - (end - start) % 480].reshape(-1, 480)
        assert (np.abs(blocks).max(axis=1)[1:-1] > 0.05).all()
        inside[start:end] = True
    assert not spoken.waveform[~inside].any()


def test_sentences_keep_speaker_text_and_order() -> None:
    said = [(sentence.speaker, sentence.text) for sentence in dialogue().sentences]
    assert said == [(turn.speaker, text) for turn in TURNS for text in turn.sentences]


def test_numbers_are_read_aloud_and_kept_as_written() -> None:
    turns = (Turn("Ann", ("At 3:30 p.m. Dr. Lin left.",)), Turn("Ann", ("It was 2018.",)))
    spoken = voice_dialogue(turns, VOICES, np.random.default_rng(0)).sentences
    assert [sentence.text for sentence in spoken] == ["At 3:30 p.m. Dr. Lin left.", "It was 2018."]
    for sentence, said in zip(
        spoken, ("At three thirty p.m. Doctor Lin left.", "It was twenty eighteen."), strict=True
    ):
        assert sentence.end - sentence.start == pytest.approx(0.05 * len(said), abs=0.025)


def test_a_pulse_in_the_last_50_samples_is_dropped() -> None:
    class Pulsing(ToneVoice):
        def _tone(self, seconds: float) -> Speech:
            waveform = super()._tone(seconds).waveform.copy()
            waveform[-50:] = 0.9
            return Speech(waveform, self.sampling_rate)

    usual, pulsing = (
        voice_dialogue(
            TURNS,
            {name: made(v.name, v.gender, v.hertz, v.sampling_rate) for name, v in VOICES.items()},
            np.random.default_rng(0),
        )
        for made in (ToneVoice, Pulsing)
    )
    assert np.array_equal(usual.waveform, pulsing.waveform)
    assert usual.sentences == pulsing.sentences


def test_pauses_are_longer_between_turns_than_between_sentences() -> None:
    for seed in range(20):
        spoken = dialogue(seed).sentences
        pauses = [b.start - a.end for a, b in pairwise(spoken)]
        for number in (1, 2):
            assert 0.399 < pauses[number] < 0.901
        for number in (0, 3, 4):
            assert 0.149 < pauses[number] < 0.401


def test_a_seed_gives_one_recording() -> None:
    assert np.array_equal(dialogue(1).waveform, dialogue(1).waveform)
    assert not np.array_equal(dialogue(1).waveform, dialogue(2).waveform)


@pytest.mark.parametrize("sampling_rate", [16_000, 24_000, 44_100])
def test_rate_and_tone_survive_resampling(sampling_rate: int) -> None:
    spoken = dialogue(sampling_rate=sampling_rate)
    assert spoken.sampling_rate == sampling_rate
    bob = spoken.sentences[2]
    sound = spoken.waveform[round(bob.start * sampling_rate) : round(bob.end * sampling_rate)]
    crossings = np.count_nonzero(np.diff(np.signbit(sound)))
    assert crossings / 2 / (bob.end - bob.start) == pytest.approx(220, rel=0.06)


def test_every_sentence_has_the_same_loudness() -> None:
    spoken = dialogue()
    meter = pyloudnorm.Meter(spoken.sampling_rate)
    for sentence in spoken.sentences:
        start, end = (round(t * spoken.sampling_rate) for t in (sentence.start, sentence.end))
        sound = spoken.waveform[start:end].astype(np.float64)
        if sentence.end - sentence.start < 0.4:
            assert 10 * np.log10(np.mean(sound**2)) == pytest.approx(-23, abs=0.01)
        else:
            assert meter.integrated_loudness(sound) == pytest.approx(-23, abs=0.01)


def test_level_does_not_clip_a_click() -> None:
    click = np.full(24_000, 1e-4, dtype=np.float32)
    click[12_000] = 0.5
    assert np.abs(level(Speech(click, 24_000)).waveform).max() == pytest.approx(0.99)


def test_trim_keeps_a_sound_without_silence() -> None:
    sound = Speech(np.full(1_003, 0.3, dtype=np.float32), 16_000)
    assert np.array_equal(trim(sound).waveform, sound.waveform)


def test_speed_shortens_the_named_speaker_only() -> None:
    fast, usual = dialogue(speeds={"Ann": 2.0}).sentences, dialogue().sentences
    ratios = [(b.end - b.start) / (a.end - a.start) for a, b in zip(fast, usual, strict=True)]
    assert ratios[0] == pytest.approx(2, rel=0.06)
    assert ratios[2] == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "no turns"),
        ([Turn("Ann", ())], "no sentences"),
        ([Turn("Carl", ("Hello.",))], "'Carl' has no voice"),
    ],
)
def test_unusable_turns_are_refused(turns: list[Turn], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        voice_dialogue(turns, VOICES, np.random.default_rng(0))


@pytest.mark.parametrize("text", ["", " \n", "...", "?!"])
def test_a_text_with_nothing_to_speak_is_refused(text: str) -> None:
    with pytest.raises(SynthesisError, match="nothing to speak"):
        VOICES["Ann"].speak_all(["Hello", text])


@pytest.mark.parametrize("speed", [0.0, -1.0, 2.1, float("nan")])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(OptionError, match="speed"):
        VOICES["Ann"].speak("Hello", speed)
