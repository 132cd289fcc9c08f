"""The only place where a rate becomes a count."""

from fractions import Fraction

from auricle.errors import OptionError

FIRST_PHASE_SECONDS = 30  # SpeechPrune keeps what its model was trained to read at once


def check_rate(pruning_rate: float) -> None:
    """Raises OptionError unless the fraction to remove lies within 0..1."""
    if not 0.0 <= pruning_rate <= 1.0:
        raise OptionError(
            f"The pruning rate is {pruning_rate}; expected a fraction from 0 (keep all) to 1 (drop all)."
        )


def window_tokens(tokens_per_second: float, seconds: float = FIRST_PHASE_SECONDS) -> int:
    """Speech tokens in `seconds`: 750 at 25 tokens per second, 375 at 12.5 (the paper's K1)."""
    return round(tokens_per_second * seconds)


def kept(length: int, tokens_per_second: float, pruning_rate: float) -> int:
    """Speech tokens that stay of `length`: `round(min(length, K1) * (1 - pruning_rate))`.

    The rate counts from the 30 s that remain after SpeechPrune's first phase, as in the paper's Table 1, so that
    all methods are compared at equal counts. Halves round up; the rate is read as the decimal that was written,
    so that 0.8 of 10 leaves 2.

    Raises:
        OptionError: the rate is outside 0..1.
    """
    check_rate(pruning_rate)
    stays = min(length, window_tokens(tokens_per_second)) * (1 - Fraction(str(float(pruning_rate))))
    return int(stays + Fraction(1, 2))
