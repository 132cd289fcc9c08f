import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import MissingDependencyError, OptionError, SynthesisError, UnknownNameError
from auricle.synthesis import espeak, kokoro, piper, programs
from auricle.synthesis.base import Voice
from auricle.synthesis.voices import voice, voices
from programs import needs_program

FILES = Path(os.environ.get("AURICLE_VOICES", "voices"))
SENTENCE = "The train to Boston leaves at noon, and the next one at three."


def needs(path: str, module: str) -> pytest.MarkDecorator:
    missing = not (FILES / path).is_file() or importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs {module} and the voices' files in $AURICLE_VOICES")


ENGINES = [
    *(pytest.param(f"flite/{name}", marks=needs_program("flite")) for name in ("slt", "rms", "awb", "kal16")),
    pytest.param("flite/slt@220", marks=needs_program("flite")),
    pytest.param("espeak/en-gb", marks=needs_program("espeak-ng")),
    pytest.param("espeak/en-us+f3", marks=needs_program("espeak-ng")),
    pytest.param("piper/joe", marks=needs(piper.MODELS["joe"], "piper")),
    pytest.param(
        "kokoro/jf_alpha+jm_kumo",
        marks=[needs(kokoro.STYLES, "onnxruntime"), needs_program("espeak-ng"), pytest.mark.slow],
    ),
]


@pytest.mark.parametrize("name", ENGINES)
def test_engine_speaks_each_text_in_order_and_faster_when_asked(name: str) -> None:
    speaker = voice(name, FILES)
    short, usual = speaker.speak_all(["Yes, sir.", SENTENCE])
    fast = speaker.speak(f"\n{SENTENCE}  ", speed=1.5)
    assert short.seconds < usual.seconds / 2
    assert 2 < usual.seconds < 7
    assert usual.seconds / fast.seconds == pytest.approx(1.5, rel=0.2)
    for speech in (short, usual, fast):
        assert speech.waveform.dtype == np.float32
        assert 0.05 < np.abs(speech.waveform).max() <= 1.0
        assert speech.sampling_rate in (16_000, 22_050, 24_000)


@needs_program("flite")
def test_flite_takes_text_for_text() -> None:
    assert voice("flite/slt").speak("-o /tmp/x.wav; echo $HOME").seconds > 1


@needs_program("flite")
def test_flite_voices_differ() -> None:
    sizes = {voice(f"flite/{name}").speak(SENTENCE).waveform.size for name in ("slt", "rms", "awb", "kal16")}
    assert len(sizes) == 4


@needs_program("espeak-ng")
def test_transcription_keeps_the_marks_between_words() -> None:
    transcription = kokoro.transcribe("Well, Mr. Smith left at 3:45 p.m. today! Really?")
    assert [mark for mark in transcription if mark in ",.!?:"] == [",", "!", "?"]
    assert transcription.startswith("wˈɛl, mˈɪstɚ ")  # noqa: RUF001


@needs_program("espeak-ng")
def test_espeak_transcribes() -> None:
    assert espeak.phonemes("hello world") == "həlˈoʊ wˈɜːld"  # noqa: RUF001


@pytest.mark.parametrize(
    "text", ["a b. c d, e f", "abcdefghijklmnopqrstuvwxyz", "one, two three four five", "", "a"]
)
def test_pieces_are_short_and_lose_nothing(text: str) -> None:
    cut = list(kokoro.pieces(text, longest=8))
    assert all(0 < len(piece) <= 8 for piece in cut)
    assert "".join(cut).replace(" ", "") == text.replace(" ", "")


def test_pieces_end_at_a_mark() -> None:
    assert list(kokoro.pieces("ab cd. ef gh ij", longest=10)) == ["ab cd.", "ef gh ij"]


def test_every_name_makes_a_voice() -> None:
    for name in voices():
        made = voice(name, FILES)
        assert isinstance(made, Voice)
        assert made.name == name
        assert made.gender in ("female", "male")
    assert len(set(voices())) == len(voices())


@pytest.mark.parametrize(
    ("name", "gender"),
    [
        ("flite/slt", "female"),
        ("flite/awb@150", "male"),
        ("espeak/en-us", "male"),
        ("espeak/en-us+f2", "female"),
        ("kokoro/jm_kumo+jm_kumo+jf_nezumi", "male"),
        ("styletts2/voices/8975_F.wav", "female"),
    ],
)
def test_gender(name: str, gender: str) -> None:
    assert voice(name, FILES).gender == gender


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("flite/stl", "flite/slt"),
        ("kokoro/jf_alfa", "kokoro/jf_alpha"),
        ("espeak/en-us+f9", "espeak/en-us"),
        ("slt", "flite"),
        ("flite/slt@", "flite/slt"),
        ("flite/slt@high", "flite/slt"),
        ("styletts2/", "styletts2"),
        ("", "engines"),
    ],
)
def test_an_unknown_voice_is_named_with_a_near_one(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint.replace("+", r"\+")):
        voice(name, FILES)


@pytest.mark.parametrize("name", ["flite/rms@120", "flite/slt@20", "flite/slt@2000"])
def test_a_pitch_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="pitch"):
        voice(name)


@pytest.mark.parametrize("name", ["piper/joe", "kokoro/jf_alpha"])
def test_missing_files_are_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="auricle models pull voices"):
        voice(name)
    if name == "kokoro/jf_alpha" or importlib.util.find_spec("piper") is not None:
        with pytest.raises(MissingDependencyError, match="auricle models pull voices"):
            voice(name, tmp_path).speak("Hello.")


def test_missing_and_failing_programs_are_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="no-such-engine"):
        programs.find_program("no-such-engine")
    with pytest.raises(SynthesisError, match="code 3: sorry"):
        programs.run_program([sys.executable, "-c", "import sys; print('sorry', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(SynthesisError, match="no readable"):
        programs.read_wav(tmp_path / "none.wav")


def test_import_is_light() -> None:
    code = (
        "import sys, auricle.synthesis; "
        "print({'torch', 'onnxruntime', 'pyloudnorm', 'piper', 'scipy', 'phonemizer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@needs(piper.MODELS["joe"], "piper")
def test_piper_speaks_the_same_text_alike():
    first, second = (voice("piper/joe", FILES).speak_all([SENTENCE, "We painted it."]) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.waveform, b.waveform)
