"""Predicted scores: DNSMOS as the package does it that its networks come from, UTMOS with a fake package."""

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch

from auricle.errors import MissingDependencyError
from auricle.spiral import opinion
from auricle.spiral.opinion import WINDOW, predict


@pytest.fixture(autouse=True)
def fresh():
    opinion._judge.cache_clear()
    yield
    opinion._judge.cache_clear()


def hum(samples: int = WINDOW) -> np.ndarray:
    times = np.arange(samples) / 16_000
    swell = 0.1 * np.sin(2 * np.pi * 220 * times) * (1 + np.sin(2 * np.pi * 3 * times))
    return (swell + 0.02 * np.sin(2 * np.pi * 1500 * times)).astype(np.float32)


def test_dnsmos_agrees_with_speechmos(monkeypatch) -> None:
    pytest.importorskip("speechmos", reason="needs the extra 'spiral'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'synthesis'")
    monkeypatch.setattr(opinion, "find_spec", lambda name: None if name == "utmos_pytorch" else find_spec(name))
    # By dnsmos.run of speechmos 0.0.1.1 with librosa 0.11 on the same samples.
    assert predict(hum()) == pytest.approx({"DNSMOS P.808": 2.2216, "DNSMOS P.835": 1.2343}, abs=2e-3)
    assert predict(hum()[: WINDOW // 2]) == pytest.approx(predict(np.tile(hum()[: WINDOW // 2], 2)))
    assert all(1 < score < 5 for score in predict(np.zeros(WINDOW, np.float32)).values())


def test_a_recording_is_heard_window_by_window() -> None:
    waveform = np.arange(2 * WINDOW + 5, dtype=np.float32)
    windows = list(opinion._windows(waveform))
    assert [len(window) for window in windows] == [WINDOW, WINDOW]
    assert np.array_equal(np.concatenate(windows), waveform[: 2 * WINDOW])
    (short,) = opinion._windows(np.array([1, 2, 3], np.float32))
    assert short[:7].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert len(short) == WINDOW


def test_no_package(monkeypatch) -> None:
    monkeypatch.setattr(opinion, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"speechmos .* auricle\[spiral\]"):
        predict(hum())


class FakeUtmos:
    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def score(self, waveform: torch.Tensor) -> torch.Tensor:
        assert waveform.shape == (1, WINDOW)
        return 3 + waveform[:, 0]


def package(monkeypatch, made: object) -> None:
    module = ModuleType("utmos_pytorch")
    module.UTMOSScoreTorch = made
    monkeypatch.setitem(sys.modules, "utmos_pytorch", module)
    monkeypatch.setattr(opinion, "find_spec", lambda name: object() if name == "utmos_pytorch" else find_spec(name))


def test_utmos_where_it_is_installed(monkeypatch) -> None:
    package(monkeypatch, FakeUtmos)
    waveform = np.zeros(2 * WINDOW, np.float32)
    waveform[0] = 0.5
    assert predict(waveform) == pytest.approx({"UTMOS": 3.25})


def test_utmos_without_weights(monkeypatch) -> None:
    pytest.importorskip("speechmos", reason="needs the extra 'spiral'")

    def offline(device: str) -> None:
        raise OSError("no route")

    package(monkeypatch, offline)
    with pytest.warns(UserWarning, match=r"UTMOS cannot be loaded \(no route\); DNSMOS stands in"):
        assert set(predict(hum())) == {"DNSMOS P.808", "DNSMOS P.835"}
