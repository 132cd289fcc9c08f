"""StyleTTS 2 with a package in its place that records how it is called."""

import pickle
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from auricle.errors import MissingDependencyError, OptionError, SynthesisError, WeightsError
from auricle.synthesis import style_tts2
from auricle.synthesis.dialogue import Turn, voice_dialogue
from auricle.synthesis.voices import voice

CALLS: list[tuple] = []


class FakeModel:
    def __init__(self) -> None:
        CALLS.append(("load",))

    def compute_style(self, path: str) -> str:
        CALLS.append(("style", path))
        return f"style of {Path(path).name}"

    def inference(self, text: str, **options: object) -> np.ndarray:
        CALLS.append(("speak", text, options))
        drawn = [random.random(), np.random.random(), float(torch.rand(1))]
        return np.resize([2.0, *drawn], 24_000)  # one too loud; were all clipped, two utterances could be equal


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    CALLS.clear()
    style_tts2._model.cache_clear()
    style_tts2._style.cache_clear()
    module = ModuleType("styletts2")
    module.tts = ModuleType("styletts2.tts")
    module.tts.StyleTTS2 = FakeModel
    monkeypatch.setitem(sys.modules, "styletts2", module)
    yield module
    style_tts2._model.cache_clear()
    style_tts2._style.cache_clear()


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    for name in ("1_F.wav", "2_M.wav"):
        (tmp_path / name).touch()
    return [f"styletts2/{tmp_path / name}" for name in ("1_F.wav", "2_M.wav")]


def test_parameters_of_the_paper(package: ModuleType, recordings: list[str]) -> None:
    speech = voice(recordings[0]).speak("Good morning.")
    assert speech.sampling_rate == 24_000
    assert speech.waveform.dtype == np.float32
    assert speech.waveform.max() == 1.0
    path = recordings[0].removeprefix("styletts2/")
    paper = {"alpha": 0.3, "beta": 0.7, "diffusion_steps": 10, "embedding_scale": 1.0}
    load, style, speak = CALLS
    assert load == ("load",)
    assert style == ("style", path)
    assert speak == ("speak", "Good morning.", {"ref_s": "style of 1_F.wav", **paper})


def test_model_and_styles_are_made_once(package: ModuleType, recordings: list[str]) -> None:
    for name in (*recordings, *recordings):
        voice(name).speak_all(["One.", "Two."])
    assert [call[0] for call in CALLS].count("load") == 1
    assert [call[0] for call in CALLS].count("style") == 2
    assert [call[0] for call in CALLS].count("speak") == 8


def test_an_utterance_repeats_whatever_was_said_before(package: ModuleType, recordings: list[str]) -> None:
    first, second = (voice(name) for name in recordings)
    alone = first.speak("Two.").waveform
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(9)
    assert np.array_equal(first.speak_all(["One.", "Two."])[1].waveform, alone)
    assert not np.array_equal(first.speak("One.").waveform, alone)
    assert not np.array_equal(second.speak("Two.").waveform, alone)


def test_global_generators_stay(package: ModuleType, recordings: list[str]) -> None:
    class Seeding(FakeModel):
        def __init__(self) -> None:
            np.random.seed(0)
            torch.manual_seed(0)

    def draw(speaks: bool) -> tuple[float, float]:
        np.random.seed(1)
        torch.manual_seed(1)
        if speaks:
            voice(recordings[0]).speak("One.")
        return np.random.random(), float(torch.rand(1))

    package.tts.StyleTTS2 = Seeding
    assert draw(speaks=True) == draw(speaks=False)
    before = random.getstate()  # beartype draws from it too, so not around all of the above
    with style_tts2._randomness(0):
        random.random()
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("name", "path", "gender"),
    [
        ("voices/8975_F.wav", "voices/8975_F.wav", "female"),
        ("/voices/12_M.flac", "/voices/12_M.flac", "male"),
        ("12_M", "12_M", "male"),
        ("ann.wav@female", "ann.wav", "female"),
        ("x_F@y/bob.wav@male", "x_F@y/bob.wav", "male"),
        ("12_M.wav@female", "12_M.wav", "female"),
    ],
)
def test_names(name: str, path: str, gender: str) -> None:
    made = voice(f"styletts2/{name}")
    assert isinstance(made, style_tts2.StyleTTS2Voice)
    assert (made.name, made.reference, made.gender) == (f"styletts2/{name}", Path(path), gender)


@pytest.mark.parametrize("name", ["ann.wav", "ann.wav@woman", "x_F/ann.wav", "12_M.wav.bak"])
def test_a_name_without_gender(name: str) -> None:
    with pytest.raises(OptionError, match="@female or @male"):
        voice(f"styletts2/{name}")


def test_its_own_speed_only(package: ModuleType, recordings: list[str]) -> None:
    with pytest.raises(OptionError, match="own speed"):
        voice(recordings[0]).speak("Hello.", speed=1.2)


def test_a_missing_recording(package: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="no reference recording"):
        voice(f"styletts2/{tmp_path}/none_F.wav").speak("Hello.")
    assert not CALLS


def test_a_missing_package(package: ModuleType, recordings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "styletts2", None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps styletts2"):
        voice(recordings[0]).speak("Hello.")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no route"), "no route.*network"),
        (pickle.UnpicklingError(), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"),
    ],
)
def test_weights_that_cannot_be_had(
    package: ModuleType, recordings: list[str], error: Exception, message: str
) -> None:
    def fail() -> None:
        raise error

    package.tts.StyleTTS2 = fail
    with pytest.raises(WeightsError, match=message):
        voice(recordings[0]).speak("Hello.")


def test_a_text_that_fails(package: ModuleType, recordings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakeModel, text: str, **options: object) -> None:
        raise LookupError("punkt not found")

    monkeypatch.setattr(FakeModel, "inference", fail)
    with pytest.raises(SynthesisError, match="punkt not found"):
        voice(recordings[0]).speak("Hello.")


def test_its_last_samples_are_not_dropped_twice(
    package: ModuleType, recordings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyloudnorm", reason="needs the extra 'synthesis'")
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    monkeypatch.setattr(FakeModel, "inference", lambda self, text, **options: tone)
    turns = [Turn("spk_1", ("Good morning.",))]
    spoken = voice_dialogue(turns, {"spk_1": voice(recordings[0])}, np.random.default_rng(0))
    assert spoken.sentences[0].end - spoken.sentences[0].start == pytest.approx(1.0, abs=1e-4)
