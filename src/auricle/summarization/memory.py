"""A memory: what is kept of a recording, to be asked many times without encoding it again."""

import json
from dataclasses import asdict, dataclass, fields
from math import inf
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from auricle.errors import MemoryFileError, ModelError
from auricle.files import whole
from auricle.key_values import Pairs
from auricle.summarization.format import FORMAT


@dataclass(frozen=True)
class About:
    """Where a memory comes from.

    Attributes:
        model: the Speech LLM's name.
        weights: hash of the Speech LLM's weights and of the SSTs'.
        recording: SHA-256 of the samples; empty if they were not known.
        duration: seconds of audio.
        speech_tokens: that the memory stands for.
        compression_ratio: speech tokens per SST.
        prefix: tokens of the prompt before the speech, which the SSTs have read.
    """

    model: str
    weights: str
    recording: str
    duration: float
    speech_tokens: int
    compression_ratio: int
    prefix: tuple[int, ...]


@dataclass(frozen=True)
class Memory:
    """The key/value pairs that stand for a recording.

    Attributes:
        pairs: of the SSTs, in order of time.
        times: start and end in seconds of the speech that each stands for.
        about: where they come from.
    """

    pairs: Pairs
    times: Float[Tensor, "pairs 2"]
    about: About

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def nbytes(self) -> int:
        """What the pairs take in memory."""
        return self.pairs.nbytes

    def check(self, model: str, weights: str, none: Pairs) -> None:
        """Whether a model can read it.

        Args:
            model: its name.
            weights: its hash, with that of the SSTs.
            none: no pairs, of the shape of its decoder's.

        Raises:
            ModelError: it was made by another model, or by other weights.
            MemoryFileError: it says that it was made by this model, but its pairs are not of this decoder.
        """
        if self.about.weights != weights:
            other = "other weights of it" if self.about.model == model else f"'{self.about.model}'"
            raise ModelError(
                f"The memory was made by {other} and means nothing to '{model}' as it is; summarize the recording"
                " again with this model."
            )
        layers, heads, _, size = none.keys.shape
        if (found := self.pairs.keys.shape) != (layers, heads, len(self), size):
            raise MemoryFileError(
                f"The memory has {found[0]} layers of {found[1]} heads of {found[3]} numbers, but '{model}' has"
                f" {layers} of {heads} of {size}; summarize the recording again."
            )

    def save(self, path: Path) -> None:
        """Writes it to a safetensors file, whole or not at all."""
        tensors = {"keys": self.pairs.keys, "values": self.pairs.values, "times": self.times}
        about = {"format": FORMAT, "about": json.dumps(asdict(self.about), ensure_ascii=False)}
        with whole(path) as part:
            contiguous = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
            part.write_bytes(save(contiguous, about))  # save_file's error does not say that the disk is full

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "Memory":
        """Reads what `save` wrote; nothing in the file is run.

        Raises:
            MemoryFileError: there is no such file, or it is no memory.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                said = file.metadata() or {}
                keys, values, times = (file.get_tensor(name) for name in ("keys", "values", "times"))
            _check_tensors(keys, values, times)
            return cls(Pairs(keys, values), times, _about(said))
        except (OSError, SafetensorError, OverflowError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise MemoryFileError(
                f"'{path}' is no memory ({error}); expected a file that 'auricle summarize' wrote."
            ) from error


def _check_tensors(keys: Tensor, values: Tensor, times: Tensor) -> None:
    shapes = ", ".join(str(tuple(each.shape)) for each in (keys, values, times))
    if keys.dim() != 4 or values.shape != keys.shape or times.shape != (keys.shape[2], 2):
        raise ValueError(f"its keys, values and times have the shapes {shapes}")
    if not all(each.is_floating_point() for each in (keys, values, times)):
        raise ValueError("its keys, values or times are no floating-point numbers")
    if not all(0 <= each < inf for each in times.flatten().tolist()):
        raise ValueError("its times are not all finite seconds from 0 on")


def _about(said: dict[str, str]) -> About:
    if said.get("format") != FORMAT:
        raise ValueError(f"its format is {said.get('format')!r} instead of {FORMAT!r}")
    found: dict[str, Any] = json.loads(said["about"])
    names = {each.name for each in fields(About)}
    if not isinstance(found, dict) or found.keys() != names:
        raise ValueError(
            f"it says {', '.join(sorted(map(str, found)))} of itself instead of {', '.join(sorted(names))}"
        )
    texts = [found[name] for name in ("model", "weights", "recording")]
    numbers = [found["speech_tokens"], found["compression_ratio"], *found["prefix"]]
    kinds = all(isinstance(each, str) for each in texts) and all(type(each) is int for each in numbers)
    if not kinds or type(found["duration"]) not in (int, float):
        raise ValueError("what it says of itself is of the wrong kind")
    duration = float(found["duration"])
    if not 0 <= duration < inf or min(numbers) < 0 or found["compression_ratio"] < 1:
        raise ValueError("a number that it says of itself is out of range")
    return About(**found | {"prefix": tuple(found["prefix"]), "duration": duration})
