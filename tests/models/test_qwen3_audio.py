"""Where recordings are cut for the encoder of Qwen3-Omni and Qwen3-ASR."""

import numpy as np
import pytest

from auricle.models.qwen3_audio import windows_of_attention


@pytest.mark.parametrize(
    ("frames", "seconds", "expected"),
    [
        (800, 70, [24, 24, 22]),
        (800, 30, [30]),
        (800, 30.5, [24, 6.5]),
        (800, 54, [24, 30]),
        (800, 54.5, [24, 24, 6.5]),
        (400, 60, [28, 28, 4]),
        (1000, 31, [20, 11]),
        (3000, 31, [29, 2]),
        (6000, 60, [29, 29, 2]),
        (800, 0.1, [0.1]),
    ],
)
def test_windows_end_where_attention_does(frames, seconds, expected):
    samples = np.arange(round(seconds * 16_000), dtype=np.float64)
    cut = list(windows_of_attention(samples, frames))
    assert [len(window) / 16_000 for window in cut] == expected
    assert np.array_equal(np.concatenate(cut), samples)
