"""What the speech encoders of Qwen3-Omni and Qwen3-ASR share: tokens a second, and where they may be cut.

They turn every second, 100 frames, into 13 tokens: twelve of 80 ms and one of 40 ms. Attention sees some seconds at a
time, the same for all of its tokens: 8 in the published models.
"""

from collections.abc import Iterator

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform

TOKENS_PER_SECOND = 13.0
_FRAME = SAMPLE_RATE // 100  # samples of a frame


def windows_of_attention(samples: Waveform, frames: int) -> Iterator[Waveform]:
    """Cuts a recording where the encoder's attention is cut: into windows of 24 s if it sees 8 s at a time.

    The last window has up to 30 s, so that no second is cut in two, and what is up to 30 s long is not cut.

    Args:
        samples: at 16 kHz.
        frames: that attention sees at a time (`n_window_infer`).
    """
    seen = frames * _FRAME
    size = WINDOW_SAMPLES // seen * seen or WINDOW_SAMPLES
    while len(samples) > WINDOW_SAMPLES:
        yield samples[:size]
        samples = samples[size:]
    yield samples
