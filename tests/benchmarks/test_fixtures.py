import json

import numpy as np
import pytest
import soundfile

from auricle.benchmarks.audiomarathon import AudioMarathon
from auricle.benchmarks.fixtures import audiomarathon, build, sounds
from auricle.benchmarks.fixtures.speech import Reader, topics, voice
from auricle.benchmarks.longspeech import LongSpeech
from auricle.errors import OptionError, UnknownNameError
from auricle.evaluation.scorers.labels import EMOTIONS
from programs import needs_program

SECONDS = {
    "SER": (165, 300), "SCR": (120, 253), "ASR": (60, 240), "SED": (270, 300), "MC": (240, 240),
    "ASC": (90, 210), "SD": (180, 300), "ER": (90, 120), "SAR": (90, 210), "SGR": (90, 210),
}  # fmt: skip
SCALE = 0.15


@needs_program("espeak-ng")
def test_a_small_longspeech(tmp_path):
    done = []
    build("longspeech", tmp_path, 3, 0.05, lambda *counts: done.append(counts))
    assert done[-1] == (8, 8)
    benchmark = LongSpeech(tmp_path)
    assert "not LongSpeech" in benchmark.note
    by_task = {}
    for sample in benchmark.samples():
        by_task.setdefault(sample.task, []).append(sample)
        assert len(sample.load()) == pytest.approx(0.05 * 600 * 16000, abs=2)
        scorer = LongSpeech.SCORERS[sample.task]
        assert scorer.counts is not None
    assert {task: len(those) for task, those in by_task.items()} == dict.fromkeys(LongSpeech.SCORERS, 3)
    assert [each.reference for each in by_task["speaker_count"]] == ["1", "1", "2"]
    assert [each.reference for each in by_task["content_separation"]] == ["1", "2", "3"]
    assert [each.groups["language"] for each in by_task["ASR"]] == ["en", "en", "de"]
    asr, german = by_task["ASR"][0], by_task["translation"][0]
    assert german.groups == {"language": "de"}
    first = topics()[0].sentences
    assert asr.reference.startswith(first["en"][0])
    assert german.reference.startswith(first["de"][0])
    temporal = by_task["Temporal_Relative_QA"][0]
    lines = list(first["en"])
    assert lines[lines.index(temporal.question.split(": ", 1)[1]) + 1] == temporal.reference


@needs_program("espeak-ng")
@pytest.mark.slow
def test_a_small_audiomarathon(tmp_path):
    build("audiomarathon", tmp_path, 2, SCALE)
    benchmark = AudioMarathon(tmp_path)
    assert "not AudioMarathon" in benchmark.note
    counted = dict.fromkeys(SECONDS, 0)
    for sample in benchmark.samples():
        counted[sample.task] += 1
        low, high = SECONDS[sample.task]
        assert SCALE * low - 0.01 <= len(sample.load()) / 16000 <= SCALE * high + 0.01
        assert sample.reference or 0 <= sample.correct < len(sample.choices)
    assert counted == dict.fromkeys(SECONDS, 2)
    assert soundfile.info(next(tmp_path.rglob("gtzan_0.wav"))).samplerate == 22_050
    real, fake = (len(list(tmp_path.rglob(f"HAD_train_{label}_*.wav"))) for label in ("real", "fake"))
    assert (real, fake) == (3, 1)
    assert len(json.loads((tmp_path / "VESUS/audio_emotion_dataset.json").read_text())) == 3


def test_what_makes_no_set_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="no fixture 'spiral'"):
        build("spiral", tmp_path)
    with pytest.raises(OptionError, match="samples is 1"):
        build("longspeech", tmp_path, 1)
    with pytest.raises(OptionError, match="scale is 0"):
        build("longspeech", tmp_path, 2, 0.0)


@needs_program("espeak-ng")
def test_a_set_takes_the_place_of_one_but_of_nothing_else(tmp_path):
    (tmp_path / "set").mkdir()
    build("longspeech", tmp_path / "set", 3, 0.05)
    build("longspeech", tmp_path / "set", 2, 0.05)
    assert len(list(tmp_path.rglob("*.wav"))) == 3
    (tmp_path / "set/fixture.json").unlink()
    with pytest.raises(OptionError, match="holds something else"):
        build("longspeech", tmp_path / "set")


def test_topics_are_told_in_every_language_and_can_be_asked():
    assert len(topics()) == 8
    for topic in topics():
        assert {len(lines) for lines in topic.sentences.values()} == {20}
        assert set(topic.sentences) == {"en", "de", "fr", "es", "it", "zh", "ja", "ko"}
        assert any(topic.emotion in labels for labels in EMOTIONS.values())
        told = " ".join(topic.sentences["en"]).lower()
        for asked in (topic.comprehension, topic.entity):
            assert len(set(asked["choices"])) == 4
        assert topic.entity["choices"][topic.entity["answer"]].lower() in told
        assert not any(character.isdigit() for lines in topic.sentences.values() for character in "".join(lines))


@needs_program("espeak-ng")
def test_sentences_follow_each_other_until_the_time_is_over():
    speaker = voice("f2")
    lines = topics()[0].sentences["en"][:2]
    reader = Reader()
    told = reader.tell(speaker, lines, 20.0)
    assert len(told.waveform) == 20 * 16000
    assert told.said[:3] == (0, 1, 0)
    spoken = sum(len(reader.lines(speaker, [lines[number]])[0]) + 8000 for number in told.said)
    assert spoken - 8000 <= 20 * 16000
    assert not told.waveform[spoken:].any()
    assert np.abs(told.waveform).max() == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(OptionError, match="larger scale"):
        reader.tell(speaker, lines, 1.0)


@pytest.mark.parametrize(
    ("make", "names"),
    [(sounds.events, sounds.EVENTS), (sounds.scene, sounds.SCENES), (sounds.music, sounds.GENRES)],
)
def test_sounds_are_unlike_each_other(make, names):
    spectra = []
    for name in names:
        made = make(name, 6.0, 16000, np.random.default_rng(0))
        assert made.dtype == np.float32
        assert len(made) == 96000
        assert np.isfinite(made).all()
        assert np.abs(made).max() == pytest.approx(0.5, abs=1e-3)
        frames = np.abs(np.fft.rfft(made[:95744].reshape(-1, 512), axis=1)).mean(0)
        spectra.append(np.log(frames + 1e-3))
    for i, first in enumerate(spectra):
        for second in spectra[i + 1 :]:
            assert np.abs(first - second).mean() > 0.02


def test_raising_the_pitch_keeps_the_length():
    tone = np.sin(2 * np.pi * 400 * np.arange(16000) / 16000).astype(np.float32)
    raised = audiomarathon._raised(tone, 12)
    assert len(raised) == 16000
    peak = np.abs(np.fft.rfft(raised[:8000])).argmax() * 2
    assert peak == pytest.approx(800, abs=10)
    assert (audiomarathon._raised(tone, 0) == tone).all()
