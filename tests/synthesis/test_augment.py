import numpy as np
import pytest
from scipy import signal

from auricle.errors import AudioError, OptionError
from auricle.synthesis import augment

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def sound() -> np.ndarray:
    """Two seconds like speech: modulated tones with a pause."""
    times = np.arange(2 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * hertz * times) / hertz for hertz in (150, 450, 1200, 5000))
    return (tones * (1 + np.sin(2 * np.pi * 4 * times)) * (times < 1.6)).astype(np.float32)


def decibels(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(x.astype(np.float64) ** 2)))


@pytest.mark.parametrize("dbfs", [-35.0, -20.0, -12.0])
def test_level_is_exact(sound: np.ndarray, dbfs: float) -> None:
    assert decibels(augment.set_level(sound, dbfs)) == pytest.approx(dbfs, abs=1e-3)


@pytest.mark.parametrize("color", augment.COLORS)
@pytest.mark.parametrize("snr_db", [5.0, 17.0, 30.0])
def test_the_snr_is_the_asked_one(sound: np.ndarray, color: augment.Color, snr_db: float) -> None:
    noise = augment.add_noise(sound, snr_db, color, RATE, rng()).astype(np.float64) - sound
    assert decibels(sound) - decibels(noise) == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize(("color", "slope"), [("white", 0.0), ("pink", -3.01)])
def test_noise_has_its_slope_per_octave(color: augment.Color, slope: float) -> None:
    base = rng(1).standard_normal(20 * RATE).astype(np.float32)
    noise = augment.add_noise(base, 0.0, color, RATE, rng()) - base
    hertz, power = signal.welch(noise, RATE, nperseg=1024)
    band = (hertz > 100) & (hertz < 7000)
    fitted = np.polyfit(np.log2(hertz[band]), 10 * np.log10(power[band]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.3)


def test_babble_is_in_the_band_of_speech() -> None:
    base = rng(1).standard_normal(20 * RATE).astype(np.float32)
    noise = augment.add_noise(base, 0.0, "babble", RATE, rng()) - base
    hertz, power = signal.welch(noise, RATE, nperseg=1024)
    assert power[(hertz > 60) & (hertz < 1000)].sum() > 0.8 * power.sum()


def test_echo_decays_by_60_db_in_rt60() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    click[0] = 1.0
    wet = augment.echo(click, RATE, rng(), rt60=0.5).astype(np.float64)

    def energy(start: float) -> float:
        return 10 * np.log10(np.mean(wet[int(start * RATE) : int((start + 0.05) * RATE)] ** 2))

    assert energy(0.05) - energy(0.3) == pytest.approx(30, abs=2)
    assert wet.size == click.size
    assert decibels(wet) == pytest.approx(decibels(click), abs=0.01)


def test_telephone_keeps_its_band_only() -> None:
    noise = rng().standard_normal(10 * RATE).astype(np.float32)
    hertz, before = signal.welch(noise, RATE, nperseg=1024)
    after = signal.welch(augment.telephone(noise, RATE), RATE, nperseg=1024)[1]
    gain = 10 * np.log10(after / before)
    assert gain[(hertz > 500) & (hertz < 2500)].min() > -1
    assert gain[((hertz > 20) & (hertz < 120)) | (hertz > 5500)].max() < -20


def test_vary_draws_the_mixture_that_it_says(sound: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = dict.fromkeys(("add_noise", "echo", "telephone"), 0)
    snrs: list[float] = []
    levels: list[float] = []

    def count(name: str) -> None:
        def fake(x: np.ndarray, *args: object, **options: object) -> np.ndarray:
            calls[name] += 1
            if name == "add_noise":
                snrs.append(float(args[0]))
            return x

        monkeypatch.setattr(augment, name, fake)

    for name in calls:
        count(name)
    draw = rng()
    quiet = sound[:800]
    for _ in range(4000):
        levels.append(decibels(augment.vary(quiet, RATE, draw)))
    shares = {name: number / 4000 for name, number in calls.items()}
    assert shares == pytest.approx({"add_noise": 0.4, "echo": 0.133, "telephone": 0.033}, abs=0.02)
    assert 5 <= min(snrs) < 6
    assert 29 < max(snrs) <= 30
    assert -35.01 < min(levels) < -34
    assert -14 < max(levels) < -11.99


def test_vary_is_seeded_and_never_beyond_full_scale(sound: np.ndarray) -> None:
    for seed in range(20):
        varied = augment.vary(sound, RATE, rng(seed))
        assert np.array_equal(varied, augment.vary(sound, RATE, rng(seed)))
        assert varied.dtype == np.float32
        assert varied.size == sound.size
        assert np.abs(varied).max() <= 1.0


def test_silence() -> None:
    silence = np.zeros(RATE, dtype=np.float32)
    assert np.array_equal(augment.vary(silence, RATE, rng()), silence)
    with pytest.raises(AudioError, match="all zero"):
        augment.set_level(silence, -20.0)
    with pytest.raises(AudioError, match="all zero"):
        augment.add_noise(silence, 10.0, "white", RATE, rng())


def test_telephone_needs_its_band() -> None:
    with pytest.raises(OptionError, match="telephone"):
        augment.telephone(np.ones(100, dtype=np.float32), 6000)
