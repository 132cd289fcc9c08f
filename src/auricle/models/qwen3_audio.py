"""What the speech encoders of Qwen3-Omni and Qwen3-ASR share: tokens a second, and where they may be cut.

They turn every second, 100 frames, into 13 tokens: twelve of 80 ms and one of 40 ms. Their attention sees some
seconds at a time, one stretch after the other: 8 s in the published models.
"""

from collections.abc import Iterator

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform

TOKENS_PER_SECOND = 13.0
_FRAME = SAMPLE_RATE // 100  # samples of a frame


def windows_of_attention(samples: Waveform, frames: int) -> Iterator[Waveform]:
    """Cuts a recording where the encoder's attention is cut: into windows of 24 s if it sees 8 s at a time.

    The last window has 6 to 30 s then, so that no second is cut in two, and what has up to 30 s is not cut.
    Attention that sees 30 s or more is cut every 29 s.

    Args:
        samples: at 16 kHz.
        frames: that attention sees at a time (`n_window_infer`).
    """
    seen = frames * _FRAME
    size = (WINDOW_SAMPLES - 1) // seen * seen or WINDOW_SAMPLES - SAMPLE_RATE
    while len(samples) > WINDOW_SAMPLES:
        yield samples[:size]
        samples = samples[size:]
    yield samples
