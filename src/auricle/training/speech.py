"""Speech for alignment: sentences spoken by many voices, packed into windows of at most 30 s, and encoded once.

A shard is a file of encoder states with the sentences of its windows; it is written whole or not at all, so that a
killed run goes on where it was.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS, Waveform
from auricle.synthesis import voice
from auricle.synthesis.augment import vary
from auricle.synthesis.dialogue import resample, trim
from auricle.training.text import sentences

# Voices with their share of the sentences. Kokoro's voices are left out: they are the unseen ones of the tests.
VOICES: Mapping[str, float] = {
    "flite/slt": 0.14,
    "flite/slt@150": 0.05,
    "flite/slt@220": 0.05,
    "flite/awb": 0.16,
    "flite/awb@170": 0.06,
    "flite/rms": 0.20,
    "flite/kal16": 0.08,
    "piper/joe": 0.08,
    "espeak/en-us": 0.03,
    "espeak/en-us+f3": 0.04,
    "espeak/en-gb+m3": 0.03,
    "espeak/en-gb+f2": 0.04,
    "espeak/en-us+m7": 0.04,
}
UTTERANCES_PER_SHARD = 320  # about 75 windows, half an hour


@dataclass(frozen=True)
class SpeechRecipe:
    """How training speech is made.

    Attributes:
        encoder: folder of the Whisper encoder (`save_pretrained`).
        voices_files: folder of the voices' files.
        words: extra vocabulary for the sentences.
        seed: of every choice; a shard depends on it and on its number alone.
        voices: name to share of the sentences.
        full: part of the windows that are filled up to 30 s; the others are shorter.
    """

    encoder: Path
    voices_files: Path
    words: tuple[str, ...] = ()
    seed: int = 0
    voices: Mapping[str, float] = field(default_factory=lambda: VOICES)
    full: float = 0.75


@dataclass(frozen=True)
class Utterance:
    """One sentence as spoken, at 16 kHz."""

    text: str
    waveform: Waveform


def build(
    make: Callable[[SpeechRecipe, Path, int], None], recipe: SpeechRecipe, folder: Path, shards: int, processes: int
) -> Iterator[int]:
    """Makes the shards `0..shards - 1` that are not there yet; yields the number of each as it is done.

    Args:
        make: makes one shard of the folder; `make_shard` or `auricle.training.recordings.make_shard`.
        recipe: how.
        folder: where; one folder a kind of shard.
        shards: how many there are to be.
        processes: how many to make at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(shards) if not shard_path(folder, index).exists()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(make, recipe, folder, index): index for index in missing}
        try:
            for done in as_completed(futures):
                done.result()
                yield futures[done]
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, the shards not yet begun are not made


def shard_path(folder: Path, index: int) -> Path:
    """Where shard `index` lies; its texts lie beside it with the suffix `.json`."""
    return folder / f"speech-{index:04d}.safetensors"


def make_shard(recipe: SpeechRecipe, folder: Path, index: int) -> None:
    """Speaks, packs and encodes one shard."""
    torch.set_num_threads(1)  # one process a core
    rng = np.random.default_rng((recipe.seed, index))
    packed = list(pack(speak(recipe, rng), rng, recipe.full))
    encoder = load_encoder(recipe.encoder)
    states = torch.cat([encode_windows(encoder, [vary(waveform, SAMPLE_RATE, rng)]) for waveform, _ in packed])
    save_shard(shard_path(folder, index), states, [list(said) for _, said in packed])


def save_shard(path: Path, states: Float[Tensor, "windows frames encoder_dim"], about: object) -> None:
    """Writes encoder states, and what is said in them as JSON beside; whole or not at all."""
    path.with_suffix(".json").write_text(json.dumps(about))
    partial = path.with_suffix(f".{os.getpid()}.part")
    save_file({"states": states}, partial)
    partial.replace(path)


def speak(recipe: SpeechRecipe, rng: np.random.Generator) -> list[Utterance]:
    """Speaks the sentences of one shard, each by a drawn voice at a drawn speed, in a random order."""
    texts = list(islice(sentences(int(rng.integers(2**31)), words=recipe.words), UTTERANCES_PER_SHARD))
    names = list(recipe.voices)
    shares = np.array([recipe.voices[name] for name in names])
    drawn = rng.choice(names, size=len(texts), p=shares / shares.sum())
    groups: dict[tuple[str, float], list[str]] = defaultdict(list)
    for text, name in zip(texts, drawn, strict=True):
        # piper loads its model for every call, so it has fewer speeds a shard.
        speed = rng.choice([0.9, 1.1]) if name.startswith("piper") else rng.uniform(0.8, 1.3)
        groups[str(name), round(float(speed), 2)].append(text)
    spoken: list[Utterance] = []
    for (name, speed), lines in groups.items():
        speeches = voice(name, recipe.voices_files).speak_all(lines, speed)
        heard = [resample(trim(speech), SAMPLE_RATE).waveform for speech in speeches]
        spoken += [Utterance(text, waveform) for text, waveform in zip(lines, heard, strict=True)]
    return [spoken[i] for i in rng.permutation(len(spoken))]


def pack(
    utterances: Sequence[Utterance], rng: np.random.Generator, full: float = 0.75
) -> Iterator[tuple[Waveform, tuple[str, ...]]]:
    """Joins utterances, with pauses of 0.1 to 1 s and levels of their own, into windows of at most 30 s."""
    waiting = [u for u in utterances if len(u.waveform) < WINDOW_SAMPLES - SAMPLE_RATE]
    while waiting:
        seconds = WINDOW_SECONDS if rng.random() < full else rng.uniform(2, WINDOW_SECONDS)
        room = int(seconds * SAMPLE_RATE)
        parts, said = [_silence(rng)], list[str]()
        while waiting and (not said or sum(map(len, parts)) + len(waiting[-1].waveform) + SAMPLE_RATE <= room):
            utterance = waiting.pop()
            gain = 10 ** (rng.uniform(-6, 6) / 20)
            parts += [(utterance.waveform * gain).astype(np.float32), _silence(rng)]
            said.append(utterance.text)
        yield np.concatenate(parts)[:WINDOW_SAMPLES], tuple(said)


def load_encoder(folder: Path) -> WhisperEncoder:
    """The Whisper encoder in bfloat16, for inference."""
    encoder = WhisperEncoder.from_pretrained(folder, dtype=torch.bfloat16)
    return encoder.requires_grad_(False).eval()  # type: ignore[no-any-return]


@torch.inference_mode()
def encode_windows(
    encoder: WhisperEncoder, waveforms: Sequence[Float[np.ndarray, "_"]]
) -> Float[Tensor, "windows frames encoder_dim"]:
    """Encoder states at 50 Hz of windows of at most 30 s, each padded with silence to 30 s."""
    extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
    features = extractor(list(waveforms), sampling_rate=SAMPLE_RATE, return_tensors="pt", device="cpu")
    states: Tensor = encoder(features["input_features"].to(encoder.dtype)).last_hidden_state
    return states


def _silence(rng: np.random.Generator) -> Waveform:
    return np.zeros(int(rng.uniform(0.1, 1.0) * SAMPLE_RATE), dtype=np.float32)
