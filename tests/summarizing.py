"""Tiny models that can summarize, and SSTs that are not their own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import torch

from auricle.models.audio_flamingo3 import AudioFlamingo3
from auricle.models.glm_asr import GlmAsr
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.mini.adapter import AuricleMini
from auricle.models.music_flamingo import MusicFlamingo
from auricle.models.qwen2_audio import Qwen2Audio
from auricle.models.voxtral import Voxtral
from auricle.summarization.sst import SST, new_sst
from models import tiny, tiny_glm, tiny_mini, tiny_voxtral

MAKE: Mapping[str, Callable[[], HuggingFaceSpeechLM]] = {
    "mini": lambda: AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini"),
    "qwen2_audio": lambda: Qwen2Audio(*tiny.tiny_qwen2_audio()),
    "voxtral": lambda: Voxtral(tiny_voxtral.model(), tiny_voxtral.processor(Path(mkdtemp()))),
    "audio_flamingo3": lambda: AudioFlamingo3(*tiny.tiny_audio_flamingo3()),
    "music_flamingo": lambda: MusicFlamingo(*tiny.tiny_music_flamingo()),
    "glm_asr": lambda: GlmAsr(*tiny_glm.tiny_glm_asr()),
}


def drawn_sst(lm: HuggingFaceSpeechLM, rank: int | None = None, scale: float = 0.1) -> SST:
    torch.manual_seed(0)
    sst = new_sst(lm, rank)
    with torch.no_grad():
        for weight in sst.parameters():
            weight.add_(scale * torch.randn_like(weight))
    return sst
