"""The mean opinion score that listeners are predicted to give to a recording: by UTMOS, or by DNSMOS."""

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.errors import MissingDependencyError

UTMOS, P808, P835 = "UTMOS", "DNSMOS P.808", "DNSMOS P.835"
WINDOW = 144_160  # samples that DNSMOS judges at a time
MEL_FRAME, MEL_HOP, MELS = 321, 160, 120
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)  # from P.835's value to a score, as fitted by its authors

Judge = Callable[[Waveform], dict[str, float]]


def predict(waveform: Waveform) -> dict[str, float]:
    """Predicts the score of a recording at 16 kHz, 1 to 5, by the metric's name.

    The metric is `UTMOS`, as in the paper (section 1.3), where the package `utmos-pytorch` is installed and its
    weights load. Else there are two, `DNSMOS P.808` and the overall one of `DNSMOS P.835`, by the networks in the
    package `speechmos`; they tell damaged recordings from whole ones, but are not UTMOS.

    Raises:
        MissingDependencyError: neither of the two packages is installed.
    """
    return _judge()(waveform)


@lru_cache(maxsize=1)
def _judge() -> Judge:
    if find_spec("utmos_pytorch") is not None:
        try:
            return _utmos()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            warnings.warn(f"UTMOS cannot be loaded ({error}); DNSMOS stands in.", stacklevel=2)
    return _dnsmos()


def _utmos() -> Judge:
    import torch

    # Imported by name: the package has no types.
    model = import_module("utmos_pytorch").UTMOSScoreTorch(device="cpu")

    def judge(waveform: Waveform) -> dict[str, float]:
        with torch.no_grad():
            scores = [float(model.score(torch.from_numpy(window)[None])) for window in _windows(waveform)]
        return {UTMOS: float(np.mean(scores))}

    return judge


def _dnsmos() -> Judge:
    """DNSMOS by its networks; `speechmos` itself needs librosa, and with it LLVM, for one spectrogram.

    Differs from `speechmos`: its windows of 9 s begin every second; these follow each other, which takes a ninth of
    the time.
    """
    found = find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError("speechmos is not installed; install auricle[spiral].")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("ONNX Runtime is not installed; install auricle[synthesis].") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    folder = Path(found.submodule_search_locations[0]) / "dnsmos_models"
    p835, p808 = (
        onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )

    def judge(waveform: Waveform) -> dict[str, float]:
        windows = list(_windows(waveform))
        quality = [float(p808.run(None, {"input_1": _mel(window)[None]})[0].item()) for window in windows]
        overall = [float(p835.run(None, {"input_1": window[None]})[0][0, 2]) for window in windows]
        return {P808: float(np.mean(quality)), P835: float(np.mean(np.polyval(_OVERALL, overall)))}

    return judge


def _windows(waveform: Waveform) -> Iterator[Waveform]:
    """Windows of 9 s one after the other, without what is left over; a short recording is repeated to fill one."""
    enough = np.resize(waveform, max(len(waveform), WINDOW)).astype(np.float32)
    for start in range(0, len(enough) - WINDOW + 1, WINDOW):
        yield enough[start : start + WINDOW]


def _mel(window: Waveform) -> Float[np.ndarray, "frames mels"]:
    """The log-mel spectrogram that DNSMOS P.808 reads: -1 to 1 for the upper 80 dB."""
    from transformers.audio_utils import power_to_db, spectrogram, window_function

    power = spectrogram(
        window[:-MEL_HOP],
        window_function(MEL_FRAME, "hann"),
        MEL_FRAME,
        MEL_HOP,
        power=2.0,
        pad_mode="constant",
        mel_filters=_mel_filters(),
        mel_floor=0.0,
    )
    decibels = power_to_db(power, reference=max(float(power.max()), 1e-10), min_value=1e-10, db_range=80.0)
    return np.asarray((decibels.T + 40) / 40, dtype=np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> Float[np.ndarray, "bins mels"]:
    from transformers.audio_utils import mel_filter_bank

    bins = MEL_FRAME // 2 + 1
    # The last bin of an odd frame is below half the sampling rate, where the function expects it.
    rate = round(2 * (bins - 1) * SAMPLE_RATE / MEL_FRAME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many filters leave some of the lowest without a bin
        return np.asarray(
            mel_filter_bank(bins, MELS, 0.0, SAMPLE_RATE / 2, rate, norm="slaney", mel_scale="slaney")
        )
