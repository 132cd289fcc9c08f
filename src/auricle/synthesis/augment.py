"""Recording conditions for training data: level, noise, echo and the telephone band."""

from typing import Literal

import numpy as np
from scipy import signal

from auricle.audio import Waveform
from auricle.errors import AudioError, OptionError

Color = Literal["white", "pink", "babble"]
COLORS: tuple[Color, ...] = ("white", "pink", "babble")


def set_level(x: Waveform, dbfs: float) -> Waveform:
    """Scales `x` to an RMS of `dbfs` dB, where 0 is a square wave at full scale; does not clip."""
    return np.asarray(x * (10 ** (dbfs / 20) / np.sqrt(_power(x))), dtype=np.float32)


def add_noise(x: Waveform, snr_db: float, color: Color, sampling_rate: int, rng: np.random.Generator) -> Waveform:
    """Adds noise; `snr_db` is the ratio of the mean powers over all of `x`, its pauses included.

    `pink` falls by 3 dB per octave. `babble` is like many far talkers: the long-term spectrum of speech, its
    loudness moving at the rate of syllables.
    """
    noise = rng.standard_normal(x.size)
    if color != "white":
        spectrum = np.fft.rfft(noise)
        hertz = np.maximum(np.fft.rfftfreq(x.size, 1 / sampling_rate), 20.0)
        gain = hertz**-0.5 if color == "pink" else (hertz / 100) / (1 + (hertz / 100) ** 2) / (1 + hertz / 500)
        noise = np.fft.irfft(spectrum * gain, x.size)
    if color == "babble":
        times = np.arange(x.size) / sampling_rate
        rates, phases = rng.uniform(2.0, 8.0, 5), rng.uniform(0.0, 2 * np.pi, 5)
        talkers = [1 + np.sin(2 * np.pi * rate * times + phase) for rate, phase in zip(rates, phases, strict=True)]
        noise *= 0.3 + np.mean(talkers, axis=0)
    noise *= np.sqrt(_power(x) / 10 ** (snr_db / 10) / _power(noise))
    return (x + noise).astype(np.float32)


def echo(x: Waveform, sampling_rate: int, rng: np.random.Generator, rt60: float) -> Waveform:
    """Adds the reverberation of a room, which falls by 60 dB in `rt60` seconds; keeps length and power."""
    times = np.arange(int(rt60 * sampling_rate)) / sampling_rate
    tail = rng.standard_normal(times.size) * np.exp(-3 * np.log(10) * times / rt60)
    tail[: int(0.005 * sampling_rate)] = 0.0  # the first wall is about a metre away
    tail *= np.sqrt(10 ** (-rng.uniform(0.0, 10.0) / 10) / np.sum(tail**2))  # direct to reverberant, 0 to 10 dB
    tail[0] = 1.0
    wet = signal.fftconvolve(x, tail)[: x.size]
    return np.asarray(wet * np.sqrt(_power(x) / _power(wet)), dtype=np.float32)


def telephone(x: Waveform, sampling_rate: int) -> Waveform:
    """Keeps 300 to 3400 Hz; the sampling rate has to be above 6800 Hz."""
    if sampling_rate <= 6800:
        raise OptionError(f"The sampling rate is {sampling_rate} Hz; the telephone band needs more than 6800.")
    band = signal.butter(4, (300, 3400), "bandpass", fs=sampling_rate, output="sos")
    return np.asarray(signal.sosfilt(band, x), dtype=np.float32)


def vary(x: Waveform, sampling_rate: int, rng: np.random.Generator) -> Waveform:
    """Draws recording conditions for training.

    60 % are clean. The others have noise at an SNR of 5 to 30 dB, a third of them (13 % of all) an echo of
    0.2 to 0.8 s and a twelfth (3 % of all) the telephone band. All get a level of -35 to -12 dBFS, and peaks
    beyond full scale are clipped as in a recorder. Digital silence comes back as it is.
    """
    if not np.any(x):
        return x
    if rng.random() >= 0.6:
        if rng.random() < 1 / 3:
            x = echo(x, sampling_rate, rng, rt60=rng.uniform(0.2, 0.8))
        color = COLORS[rng.integers(len(COLORS))]
        x = add_noise(x, rng.uniform(5.0, 30.0), color, sampling_rate, rng)
        if rng.random() < 1 / 12:
            x = telephone(x, sampling_rate)
    return np.clip(set_level(x, rng.uniform(-35.0, -12.0)), -1.0, 1.0)


def _power(x: np.ndarray) -> float:
    power = float(np.mean(np.square(x, dtype=np.float64))) if x.size else 0.0
    if power == 0.0:
        raise AudioError("The samples are all zero, so they have no level; pass a recording with sound.")
    return power
