"""Speech tokens that were encoded once are kept in a folder: asked again, a recording is not encoded again.

The folder is named by the environment variable `AURICLE_TOKENS`; without it, nothing is kept. It is never emptied:
remove it when it is no longer wanted. Several processes may use it at a time.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from auricle import __version__
from auricle.audio import Waveform
from auricle.files import whole
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import AudioTokens, SpeechLM

VARIABLE = "AURICLE_TOKENS"


def encode(
    lm: SpeechLM, waveform: Waveform, sampling_rate: int, on_window: Callable[[int, int], None] | None = None
) -> AudioTokens:
    """`lm.encode`, or what it made of the same samples before, on the model's device.

    Models that are not of `transformers` cannot be told apart and always encode; a damaged file is written anew.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or not isinstance(lm, HuggingFaceSpeechLM):
        return lm.encode(waveform, sampling_rate, on_window)
    path = Path(folder) / f"{_key(lm, waveform, sampling_rate)}.safetensors"
    if found := _read(path, lm):
        if on_window:
            on_window(1, 1)
        return found
    tokens = lm.encode(waveform, sampling_rate, on_window)
    with whole(path) as part:
        save_file({"embeds": tokens.embeds.contiguous(), "times": tokens.times.contiguous()}, part)
    return tokens


def _read(path: Path, lm: HuggingFaceSpeechLM) -> AudioTokens | None:
    try:
        with safe_open(path, framework="pt") as file:
            embeds, times = file.get_tensor("embeds"), file.get_tensor("times")
    except (OSError, SafetensorError):
        return None
    return AudioTokens(embeds.to(lm.device), times, lm.aligned)


def _key(lm: HuggingFaceSpeechLM, waveform: Waveform, sampling_rate: int) -> str:
    about = f"{__version__} {lm.encoder_hash} {sampling_rate} {waveform.shape} {waveform.dtype} "
    return hashlib.sha256(about.encode() + waveform.tobytes()).hexdigest()[:32]
