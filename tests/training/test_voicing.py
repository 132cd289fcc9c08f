"""Voiced text: all of it is there, once, and it is known where each sentence ends."""

import itertools

import numpy as np
import pytest
from fake_speech import VOICES, fake_voice

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS
from auricle.errors import SynthesisError
from auricle.synthesis import SpokenDialogue, SpokenSentence, Turn
from auricle.training import voicing
from auricle.training.voicing import Sized, Spoken, cut, pack, speak, speak_talk

WORDS = ("harbor", "lantern")


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(voicing, "voice", fake_voice)


def utterances(seed, count=60, longest=31):
    """Each has a level of its own, by which it can be found again in a window."""
    rng = np.random.default_rng(seed)
    lengths = (rng.uniform(0.2, longest, count) * SAMPLE_RATE).astype(int)
    return [Spoken(f"text {i}", np.ones(length, np.float32)) for i, length in enumerate(lengths)]


def runs(waveform):
    """Start and samples of every stretch that is not silent."""
    cuts = np.flatnonzero(np.diff(waveform)) + 1
    parts = zip([0, *cuts], np.split(waveform, cuts), strict=True)
    return [(start, part) for start, part in parts if part.any()]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("full", [0.0, 0.75, 1.0])
def test_pack(seed, full):
    given = utterances(seed, longest=(6, 31)[seed % 2])
    fitting = {u.text: len(u.waveform) for u in given if len(u.waveform) < WINDOW_SAMPLES - SAMPLE_RATE}
    packed = list(pack(given, np.random.default_rng(seed), full))
    assert sorted(said.text for window in packed for said in window.said) == sorted(fitting)
    for window in packed:
        assert window.waveform.dtype == np.float32
        assert 0 < len(window.waveform) <= WINDOW_SAMPLES
        assert window.said
        # Not a sample of what is said is cut off, and the level of each utterance is its own.
        spoken = runs(window.waveform)
        assert [len(part) for _, part in spoken] == [fitting[said.text] for said in window.said]
        assert all(10 ** (-6 / 20) - 1e-6 <= part[0] <= 10 ** (6 / 20) + 1e-6 for _, part in spoken)
        assert not window.waveform[: SAMPLE_RATE // 10].any()
        # Every sentence ends behind its sound and before the next one's.
        ends = [round(said.end * SAMPLE_RATE) for said in window.said]
        assert all(start + len(part) <= end for (start, part), end in zip(spoken, ends, strict=True))
        assert all(end <= start for (start, _), end in zip(spoken[1:], ends[:-1], strict=True))


def test_full_windows_are_full():
    packed = list(pack(utterances(3, longest=4), np.random.default_rng(0), 1.0))
    assert all(len(window.waveform) > 24 * SAMPLE_RATE for window in packed[:-1])


def test_nothing_to_pack():
    assert list(pack([], np.random.default_rng(0))) == []


def dialogue(lengths, pause=0.5):
    """Sentences of so many seconds, each a constant of its own."""
    parts, sentences, position = [], [], 0.0
    for number, length in enumerate(lengths, 1):
        parts += [np.zeros(int(pause * SAMPLE_RATE)), np.full(int(length * SAMPLE_RATE), number / 100)]
        position += pause
        sentences.append(SpokenSentence("spk_1", f"sentence {number}", position, position + length))
        position += length
    waveform = np.concatenate([*parts, np.zeros(int(pause * SAMPLE_RATE))]).astype(np.float32)
    return SpokenDialogue(waveform, SAMPLE_RATE, tuple(sentences))


@pytest.mark.parametrize("lengths", [[3], [10, 10, 10, 5], [28, 28], [1] * 50, [29, 0.5, 29], [14.5, 14.5, 14]])
def test_cut(lengths):
    given = dialogue(lengths)
    windows = list(cut(given))
    assert np.array_equal(np.concatenate([window.waveform for window in windows]), given.waveform)
    assert [said.text for window in windows for said in window.said] == [s.text for s in given.sentences]
    for window in windows:
        assert len(window.waveform) <= WINDOW_SAMPLES
        starts = [0.0, *(said.end for said in window.said)]
        for said, start in zip(window.said, starts, strict=False):
            part = window.waveform[round(start * SAMPLE_RATE) : round(said.end * SAMPLE_RATE)]
            number = int(said.text.split()[1])
            assert set(np.unique(part)) == {np.float32(0), np.float32(number / 100)}
            assert np.count_nonzero(part) == int(lengths[number - 1] * SAMPLE_RATE)
    # As few windows as can be: the first sentence of each would not have fitted into the one before.
    for one, following in itertools.pairwise(windows):
        assert one.said[-1].end + following.said[0].end > WINDOW_SECONDS


def test_a_sentence_longer_than_a_window():
    with pytest.raises(SynthesisError, match="'sentence 2' takes 32 s"):
        list(cut(dialogue([3, 31, 2], pause=0.5)))


def test_speak_talk(fakes, tmp_path):
    turns = [Turn(f"spk_{i % 2}", (f"word {i} a b c d e f g", "another one")) for i in range(20)]
    spoken = speak_talk(turns, VOICES, tmp_path, np.random.default_rng(0))
    assert spoken.sampling_rate == SAMPLE_RATE
    assert [(one.speaker, one.text) for one in spoken.sentences] == [
        (turn.speaker, sentence) for turn in turns for sentence in turn.sentences
    ]
    assert [one.start for one in spoken.sentences] == sorted(one.start for one in spoken.sentences)
    again = speak_talk(turns, VOICES, tmp_path, np.random.default_rng(0))
    assert np.array_equal(spoken.waveform, again.waveform)
    other = speak_talk(turns, VOICES, tmp_path, np.random.default_rng(1))
    assert not np.array_equal(spoken.waveform, other.waveform)


def test_every_speaker_has_a_voice_of_their_own(fakes, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(voicing, "voice", lambda name, files: asked.append(name) or fake_voice(name))
    for seed in range(10):
        asked.clear()
        turns = [Turn(f"spk_{i}", ("one two three",)) for i in range(5)]
        speak_talk(turns, VOICES, tmp_path, np.random.default_rng(seed))
        assert len(set(asked)) == 5


def test_speak(fakes, tmp_path):
    spoken = speak(VOICES, tmp_path, WORDS, 8, np.random.default_rng(0))
    assert len({u.text for u in spoken}) == 8
    again = speak(VOICES, tmp_path, WORDS, 8, np.random.default_rng(0))
    assert [u.text for u in again] == [u.text for u in spoken]
    for one, other in zip(spoken, again, strict=True):
        assert np.array_equal(one.waveform, other.waveform)
        words = len(one.text.split())
        assert 0.3 / 1.26 * words <= len(one.waveform) / SAMPLE_RATE <= 0.3 / 0.79 * words


def test_every_voice_speaks_its_share(monkeypatch, tmp_path):
    asked = {}

    class Counting(type(fake_voice("x"))):
        def _speak_lines(self, lines, speed):
            asked.setdefault(self.name, []).extend([speed] * len(lines))
            return super()._speak_lines(lines, speed)

    monkeypatch.setattr(voicing, "voice", lambda name, files: Counting(name, "male", 0.02))
    speak(VOICES, tmp_path, WORDS, 400, np.random.default_rng(1))
    for name, share in VOICES.items():
        assert len(asked[name]) / 400 == pytest.approx(share, abs=0.08)
    assert len(set(asked["piper/joe"])) <= 4
    assert len(set(asked["flite/slt"])) > 20


@pytest.mark.parametrize("size", [0.9, 1.0, 1.1])
def test_a_size_moves_the_pitch_and_not_the_speed(size):
    plain = fake_voice("x")
    sized = Sized("x", "female", plain, size).speak("one two three four", 1.1)
    assert sized.seconds == pytest.approx(plain.speak("one two three four", 1.1).seconds, rel=1e-3)
    assert sized.sampling_rate == round(SAMPLE_RATE * size)
