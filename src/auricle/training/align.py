"""Stage one: the connector learns when what is said, by CTC over letters, on the states of a frozen encoder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from typing_extensions import override

from auricle import audio
from auricle.audio import SAMPLE_RATE, WINDOW_SECONDS, Waveform
from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss, normalize
from auricle.synthesis.dialogue import SpokenDialogue
from auricle.training.loop import Examples, Schedule, fit
from auricle.training.recordings import load_shard
from auricle.training.voicing import Said, cut

# Of the encoder's 50 Hz states, in spans of up to 0.4 s: a word is learned from its neighbours too.
MASKED_SHARE, MASKED_FRAMES = 0.2, 20
VALIDATION = 20  # every 20th window is never learned
SCHEDULE = Schedule(epochs=4.0, learning_rate=1.5e-3, batch_size=8)


@dataclass(frozen=True)
class Target:
    """A sentence of a window: where it ends, in seconds, and the letters that are to be heard in it."""

    end: float
    letters: Int[Tensor, "letters"]


@dataclass(frozen=True)
class Example:
    """One window: the encoder's states, and the sentences that are spoken in it."""

    states: Float[Tensor, "frames encoder_dim"]
    targets: tuple[Target, ...]


class Windows(Examples[Example]):
    """The windows of a folder of encoded shards, read from disk as they are asked for."""

    def __init__(self, paths: Sequence[Path], *, validation: bool = False) -> None:
        """Opens the files that `encode_shard` wrote; every `VALIDATION`th window is for validation."""
        self._files = [safe_open(path, framework="pt").get_slice("states") for path in paths]
        said = [_load_said(path) for path in paths]
        everything = [(file, row, one) for file, windows in enumerate(said) for row, one in enumerate(windows)]
        self._windows = [
            each for number, each in enumerate(everything) if (number % VALIDATION == VALIDATION - 1) == validation
        ]

    @override
    def __len__(self) -> int:
        return len(self._windows)

    @property
    @override
    def lengths(self) -> Sequence[int]:
        return [1] * len(self)  # every window is padded to 30 s

    @override
    def __getitem__(self, index: int) -> Example:
        file, row, said = self._windows[index]
        return Example(self._files[file][row : row + 1][0], tuple(_target(each) for each in said))


def train_connector(connector: Connector, paths: Sequence[Path], output: Path, schedule: Schedule) -> None:
    """Trains a connector in place; a killed run goes on from its last checkpoint in `output`.

    Raises:
        TrainingError: there is less speech than one step takes.
    """
    train, validation = Windows(paths), Windows(paths, validation=True)
    fit(connector, alignment_loss, train, validation, collate, output, schedule)


def alignment_loss(connector: nn.Module, batch: dict[str, Any]) -> Float[Tensor, ""]:
    """CTC loss per letter, sentence by sentence."""
    states: Tensor = batch["states"]
    if connector.training:
        states = states * mask(states.shape[0], states.shape[1]).to(states.device)[..., None]
    return sentence_loss(connector(states), batch["targets"])


def sentence_loss(
    logits: Float[Tensor, "batch steps classes"], targets: Sequence[Sequence[Target]]
) -> Float[Tensor, ""]:
    """CTC loss per letter, sentence by sentence: it is known when each ends, so that it need not be found.

    Args:
        logits: of windows of 30 s.
        targets: of each window. The last sentence takes all frames that are left.
    """
    rate = logits.shape[1] / WINDOW_SECONDS
    parts, labels = list[Tensor](), list[Tensor]()
    for row, sentences in zip(logits, targets, strict=True):
        ends = [min(round(one.end * rate), len(row)) for one in sentences[:-1]] + [len(row)]
        parts += [row[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        labels += [one.letters.to(logits.device) for one in sentences]
    return ctc_loss(parts, labels)


def collate(examples: list[Example]) -> dict[str, object]:
    """Stacks the states of a batch in float32."""
    states = torch.stack([example.states for example in examples]).float()
    return {"states": states, "targets": [example.targets for example in examples]}


def encode_shard(encoder: WhisperEncoder, shard: Path, output: Path) -> None:
    """Writes the encoder's states of a shard's recordings, cut in pauses into windows, and what is said in each."""
    states, said = list[Tensor](), list[tuple[Said, ...]]()
    for recording in load_shard(shard):
        waveform = audio.load(recording.audio)
        for window in cut(SpokenDialogue(waveform, SAMPLE_RATE, recording.sentences)):
            states.append(encode_window(encoder, window.waveform))
            said.append(window.said)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps([[asdict(each) for each in window] for window in said]))
    partial = output.with_suffix(".part")
    save_file({"states": torch.stack(states)}, partial)
    partial.replace(output)


@torch.inference_mode()
def encode_window(encoder: WhisperEncoder, waveform: Waveform) -> Float[Tensor, "frames encoder_dim"]:
    """Encoder states at 50 Hz of a window of at most 30 s, padded with silence to 30 s."""
    extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
    features = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt", device="cpu")
    states: Tensor = encoder(features["input_features"].to(encoder.conv1.weight)).last_hidden_state[0]
    return states.cpu()


def mask(batch: int, frames: int) -> Bool[Tensor, "batch frames"]:
    """False in random spans, `MASKED_SHARE` of all frames before they overlap, as SpecAugment masks time."""
    spans = round(MASKED_SHARE * frames / (MASKED_FRAMES / 2))
    starts = torch.randint(frames, (batch, spans, 1))
    lengths = torch.randint(MASKED_FRAMES + 1, (batch, spans, 1))
    at = torch.arange(frames)
    return ~((at >= starts) & (at < starts + lengths)).any(1)


def _load_said(path: Path) -> list[tuple[Said, ...]]:
    return [tuple(Said(**each) for each in window) for window in json.loads(path.with_suffix(".json").read_text())]


def _target(said: Said) -> Target:
    return Target(said.end, torch.tensor([ALPHABET.index(letter) for letter in normalize(said.text)]))
