"""Training speech: talks and sentences spoken by many voices, cut into windows of at most 30 s, encoded once.

A shard is a file of encoder states with what is said in its windows; it is written whole or not at all, so that a
killed run goes on where it was.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.mini.ear import TRAINED_LAYERS
from auricle.models.mini.processing import token_count
from auricle.synthesis.augment import vary
from auricle.training.talks import endless
from auricle.training.voicing import VOICES, Said, Window, pack, speak, speak_talk

TALKS_PER_SHARD = 16  # about 45 windows
UTTERANCES_PER_SHARD = 80  # about 18 windows


@dataclass(frozen=True)
class SpeechRecipe:
    """How training speech is made.

    Attributes:
        encoder: folder of the Whisper encoder (`save_pretrained`).
        voices_files: folder of the voices' files.
        words: extra vocabulary for the sentences.
        seed: of every choice; a shard depends on it and on its number alone.
        voices: name to share of the sentences.
    """

    encoder: Path
    voices_files: Path
    words: tuple[str, ...] = ()
    seed: int = 0
    voices: Mapping[str, float] = field(default_factory=lambda: VOICES)


@dataclass(frozen=True)
class Recording:
    """What a shard says of one recording.

    Attributes:
        windows: what is said in each of its windows.
        lengths: speech tokens of each of its windows.
        questions: questions about it with their answers; none for single sentences.
    """

    windows: tuple[tuple[Said, ...], ...]
    lengths: tuple[int, ...]
    questions: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(said.text for window in self.windows for said in window)


def build(
    make: Callable[[SpeechRecipe, Path, int], None], recipe: SpeechRecipe, folder: Path, shards: int, processes: int
) -> Iterator[int]:
    """Makes the shards `0..shards - 1` that are not there yet; yields the number of each as it is done.

    Args:
        make: makes one shard of the folder, as `make_shard` does.
        recipe: how.
        folder: where.
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
    """Where shard `index` lies; what is said in it lies beside it with the suffix `.json`."""
    return folder / f"speech-{index:04d}.safetensors"


def make_shard(recipe: SpeechRecipe, folder: Path, index: int) -> None:
    """Speaks and encodes one shard: talks with their questions, then windows of single sentences."""
    torch.set_num_threads(1)  # one process a core
    rng = np.random.default_rng((recipe.seed, index))
    first = index * TALKS_PER_SHARD
    drawn = list(islice(endless(recipe.seed), first, first + TALKS_PER_SHARD))
    spoken = [(speak_talk(talk.turns, recipe.voices, recipe.voices_files, rng), talk.asked) for talk in drawn]
    utterances = speak(recipe.voices, recipe.voices_files, recipe.words, UTTERANCES_PER_SHARD, rng)
    spoken += [((window,), ()) for window in pack(utterances, rng)]
    encoder = load_encoder(recipe.encoder)
    states, recordings = list[Tensor](), list[Recording]()
    for windows, questions in spoken:
        waveforms = _conditions(windows, rng)
        states += [encode_window(encoder, waveform) for waveform in waveforms]
        lengths = tuple(token_count(len(waveform)) for waveform in waveforms)
        recordings.append(Recording(tuple(window.said for window in windows), lengths, questions))
    save_shard(shard_path(folder, index), torch.stack(states), recordings)


def save_shard(path: Path, states: Float[Tensor, "windows frames encoder_dim"], about: list[Recording]) -> None:
    """Writes encoder states, and what is said in them as JSON beside; whole or not at all."""
    path.with_suffix(".json").write_text(json.dumps([asdict(recording) for recording in about]))
    partial = path.with_suffix(f".{os.getpid()}.part")
    save_file({"states": states}, partial)
    partial.replace(path)


def load_shard(path: Path) -> list[Recording]:
    """What is said in the shard at `path`."""
    return [
        Recording(
            tuple(tuple(Said(**said) for said in window) for window in one["windows"]),
            tuple(one["lengths"]),
            tuple((question, answer) for question, answer in one["questions"]),
        )
        for one in json.loads(path.with_suffix(".json").read_text())
    ]


def load_encoder(folder: Path) -> WhisperEncoder:
    """The frozen part of the Whisper encoder in bfloat16: all but its top `TRAINED_LAYERS` layers."""
    encoder = WhisperEncoder.from_pretrained(folder, dtype=torch.bfloat16)
    encoder.layers = encoder.layers[:-TRAINED_LAYERS]
    encoder.layer_norm = nn.Identity()  # type: ignore[assignment]
    return encoder.requires_grad_(False).eval()  # type: ignore[no-any-return]


@torch.inference_mode()
def encode_window(encoder: WhisperEncoder, waveform: Waveform) -> Float[Tensor, "frames encoder_dim"]:
    """Encoder states at 50 Hz of a window of at most 30 s, padded with silence to 30 s."""
    extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
    features = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt", device="cpu")
    states: Tensor = encoder(features["input_features"].to(encoder.dtype)).last_hidden_state[0]
    return states


def _conditions(windows: tuple[Window, ...], rng: np.random.Generator) -> list[Waveform]:
    """The windows under recording conditions that are the same for all of them."""
    cuts = np.cumsum([len(window.waveform) for window in windows])[:-1]
    whole = vary(np.concatenate([window.waveform for window in windows]), SAMPLE_RATE, rng)
    return np.split(whole, cuts)
