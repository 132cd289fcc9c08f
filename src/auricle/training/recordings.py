"""Whole recordings with questions: invented talks spoken by several voices, encoded once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from auricle.audio import SAMPLE_RATE, windows
from auricle.models.mini.processing import token_count
from auricle.synthesis import Turn, Voice, voice, voice_dialogue
from auricle.synthesis.augment import vary
from auricle.training.dialogues import Sample, samples
from auricle.training.speech import SpeechRecipe, encode_windows, load_encoder, save_shard, shard_path

RECORDINGS_PER_SHARD = 32
WORDS = (30, 200)  # 12 to 80 s


@dataclass(frozen=True)
class Recording:
    """What a shard says of one recording.

    Attributes:
        lengths: speech tokens of each of its windows.
        questions: questions and their short answers; the first is about the key sentence.
        text: what is said.
    """

    lengths: tuple[int, ...]
    questions: tuple[tuple[str, str], ...]
    text: str


def make_shard(recipe: SpeechRecipe, folder: Path, index: int) -> None:
    """Speaks and encodes one shard of recordings."""
    torch.set_num_threads(1)  # one process a core
    rng = np.random.default_rng((recipe.seed, index, 1))
    encoder = load_encoder(recipe.encoder)
    states, about = [], []
    for sample in _samples(rng):
        spoken = voice_dialogue(
            sample.turns, _cast(sample, recipe, rng), rng, speeds=_speeds(sample, rng), sampling_rate=SAMPLE_RATE
        )
        cut = list(windows(vary(spoken.waveform, SAMPLE_RATE, rng)))
        states.append(encode_windows(encoder, cut))
        lengths = tuple(token_count(len(window)) for window in cut)
        about.append(asdict(Recording(lengths, _questions(sample), _text(sample.turns))))
    save_shard(shard_path(folder, index), torch.cat(states), about)


def _samples(rng: np.random.Generator) -> list[Sample]:
    seed = int(rng.integers(2**31))
    return [next(samples(seed + number, words=int(rng.integers(*WORDS)))) for number in range(RECORDINGS_PER_SHARD)]


def _cast(sample: Sample, recipe: SpeechRecipe, rng: np.random.Generator) -> Mapping[str, Voice]:
    speakers = dict.fromkeys(turn.speaker for turn in sample.turns)
    names = list(recipe.voices)
    shares = np.array([recipe.voices[name] for name in names])
    drawn = rng.choice(names, size=len(speakers), p=shares / shares.sum(), replace=False)
    return {s: voice(str(name), recipe.voices_files) for s, name in zip(speakers, drawn, strict=True)}


def _speeds(sample: Sample, rng: np.random.Generator) -> Mapping[str, float]:
    return {turn.speaker: float(rng.uniform(0.85, 1.25)) for turn in sample.turns}


def _questions(sample: Sample) -> tuple[tuple[str, str], ...]:
    return ((sample.question, sample.choices[sample.correct]), *sample.others)


def _text(turns: tuple[Turn, ...]) -> str:
    return " ".join(sentence for turn in turns for sentence in turn.sentences)
