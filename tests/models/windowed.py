"""Models whose own processing has no windows: a native-like prompt made of separately encoded windows."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.audio import WINDOW_SAMPLES
from auricle.models.hugging_face import HuggingFaceSpeechLM
from models.checks import assert_close


def windowed_embeds(
    waveform: np.ndarray,
    native: Callable[[np.ndarray], Mapping[str, Any]],
    merged: Callable[[Mapping[str, Any]], Tensor],
    audio_token_id: int,
) -> tuple[Tensor, Tensor]:
    """Rows of one prompt whose audio is that of the native prompts of all windows, and where the audio stands."""
    speech = []
    for start in range(0, len(waveform), WINDOW_SAMPLES):
        inputs = native(waveform[start : start + WINDOW_SAMPLES])
        embeds = merged(inputs)
        places = inputs["input_ids"][0] == audio_token_id
        speech.append(embeds[places])
    first, last = places.nonzero()[[0, -1], 0]
    audio = torch.arange(sum(map(len, speech))) + first
    return torch.cat([embeds[:first], *speech, embeds[last + 1 :]]), audio


def check_windowed(
    lm: HuggingFaceSpeechLM, waveform: np.ndarray, question: str, whole: Tensor, audio: Tensor
) -> None:
    """Whole and pruned, the logits are those of the rows `whole`, of which `audio` are the speech."""
    prompt = lm.prompt(lm.encode(waveform), lm.query(question))
    assert torch.equal(prompt.audio, audio)
    keep = torch.arange(5, len(audio), 7)
    stays = torch.ones(len(whole), dtype=torch.bool)
    stays[audio] = False
    stays[audio[keep]] = True
    rows = stays.nonzero()[:, 0]
    with torch.inference_mode():
        expected = lm.model(inputs_embeds=whole[None]).logits[0]
        fewer = lm.model(inputs_embeds=whole[None, rows]).logits[0]
        gaps = lm.model(inputs_embeds=whole[None, rows], position_ids=rows[None]).logits[0]
    assert_close(lm.logits(prompt), expected)
    assert_close(lm.logits(prompt.keep(keep)), fewer)
    assert_close(lm.logits(prompt.keep(keep, positions="original")), gaps)
    assert not torch.allclose(fewer, gaps, atol=1e-3)
