"""Voices that need no engine, and a tiny Whisper encoder, for making shards of training speech."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.audio import SAMPLE_RATE
from auricle.synthesis.base import Speech, Voice
from auricle.training.recordings import SpeechRecipe

DIM = 16
VOICES = {"flite/slt": 0.4, "piper/joe": 0.3, "flite/awb": 0.1, "flite/rms": 0.1} | {
    f"espeak/en-us+{variant}": 0.02 for variant in ("f1", "f2", "m1", "m2", "m3")
}


@dataclass(frozen=True)
class FakeVoice(Voice):
    """Noise that depends on the text and the voice, so many seconds a word."""

    seconds: float = 0.3

    def _speak_lines(self, lines, speed):
        return [self._say(line, speed) for line in lines]

    def _say(self, line, speed):
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {line}".encode()))
        samples = int(len(line.split()) * self.seconds / speed * SAMPLE_RATE)
        return Speech(rng.uniform(-0.3, 0.3, samples).astype(np.float32), SAMPLE_RATE)


def fake_voice(name, files=None, seconds=0.3):
    return FakeVoice(name, "female", seconds)


def tiny_encoder():
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=DIM,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=80,
        max_source_positions=1500,
    )
    return WhisperEncoder(config).eval()


def recipe(folder, seed=0):
    """A recipe of fake voices."""
    return SpeechRecipe(folder, ("harbor", "lantern"), seed, VOICES)
