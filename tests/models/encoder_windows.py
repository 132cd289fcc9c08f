"""What is checked of both models with Qwen3-Omni's speech encoder: where it is cut, and its tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle import registry
from auricle.audio import windows
from auricle.models.hugging_face import HuggingFaceSpeechLM
from models import checks

WINDOW = 24 * 16_000  # three times the 8 s that attention sees at a time
PRUNERS = sorted(registry.PRUNERS.keys() - {"full", "first30"})
_LAYER: Mapping[str, Mapping[str, Any]] = {"fastv": {"layer": 1}, "dart": {"layer": 1}}  # of two


def cut(waveform: np.ndarray) -> list[np.ndarray]:
    """Windows of 24 s, of which the last has up to 30 s."""
    parts = [*windows(waveform, WINDOW)]
    if len(parts) > 1 and len(parts[-1]) <= 6 * 16_000:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def joined(
    lm: HuggingFaceSpeechLM,
    waveform: np.ndarray,
    inputs_of: Callable[[np.ndarray], dict[str, Any]],
    features: str,
    mask: str,
) -> dict[str, Any]:
    """The inputs of a recording, whose frames are made window by window, and read by the encoder all at once."""
    inputs = inputs_of(waveform)
    alone = [inputs_of(window) for window in cut(waveform)]
    frames = torch.cat([each[features][0][:, each[mask][0].bool()] for each in alone], dim=1)
    inputs[mask] = torch.zeros(1, inputs[features].shape[2], dtype=torch.long)
    inputs[mask][:, : frames.shape[1]] = 1
    inputs[features] = torch.zeros_like(inputs[features])
    inputs[features][0, :, : frames.shape[1]] = frames
    return inputs


def tokens_of(frames: int) -> int:
    """13 of every second, of which twelve have 8 frames and one 4."""
    return frames // 100 * 13 + -(-(frames % 100) // 8)


def check_frames(together: Tensor, alone: Tensor) -> None:
    """Frames of 70 s made together and by windows differ at the cuts at most, and by the floor."""
    assert together.shape == alone.shape == (128, 7000)
    floored = torch.maximum(alone, alone.amax() - 2)
    differ = ((together - floored).abs() > 1e-4).any(dim=0).nonzero()[:, 0].tolist()
    assert differ
    assert set(differ) <= {at + offset for at in (2400, 4800) for offset in (-1, 0, 1)}


def check_pruner(lm: HuggingFaceSpeechLM, name: str, question: str) -> None:
    """Leaves as many tokens as it has to, whose prompt is read."""
    tokens, query = lm.encode(checks.noise(40)), lm.query(question)
    reduced = registry.pruner(name, pruning_rate=0.6, **_LAYER.get(name, {})).reduce(tokens, query, lm)
    assert len(reduced.keep) == 156  # 0.4 of the tokens of 30 s
    prompt = reduced.prompt(lm.prompt(tokens, query))
    logits = lm.logits(prompt)
    assert len(logits) == len(lm.prompt(None, query)) + 156
    assert torch.isfinite(logits).all()
