"""Reads the weights of Whisper from a CTranslate2 `model.bin`.

Layout, little endian: u32 version, string spec, u32 revision, u32 count, then per variable: string name, u8 rank,
u32 dims, u8 dtype, u32 bytes, data. A string is u16 length with its trailing zero, then the bytes.
"""

import struct

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from auricle.errors import WeightsError

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_VERSION = 6

Variables = dict[str, Shaped[np.ndarray, "..."]]


def read(data: bytes, name: str) -> Variables:
    """All variables of a CTranslate2 model by name.

    Args:
        data: of its file.
        name: of its file, for errors.

    Raises:
        WeightsError: the file is no CTranslate2 model of the known version, or is cut off.
    """
    try:
        return _Reader(data).variables()
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise WeightsError(f"'{name}' is not a whole CTranslate2 model (version {_VERSION}): {error}.") from error


def whisper_encoder(variables: Variables) -> dict[str, Tensor]:
    """State dict of `transformers`' `WhisperEncoder` in float32, from the variables of a CTranslate2 Whisper.

    Raises:
        WeightsError: a variable is missing or quantized.
    """
    source = _Source(variables, "encoder/")
    state = {"embed_positions.weight": source.tensor("position_encodings/encodings")}
    for conv in ("conv1", "conv2"):
        state |= source.both(conv, conv)
    return state | _layers(source, _ENCODER_NORMS)


def whisper_decoder(variables: Variables) -> dict[str, Tensor]:
    """State dict of `transformers`' `WhisperDecoder` in float32, from the variables of a CTranslate2 Whisper.

    Raises:
        WeightsError: a variable is missing or quantized.
    """
    source = _Source(variables, "decoder/")
    state = {
        "embed_tokens.weight": source.tensor("embeddings/weight"),
        "embed_positions.weight": source.tensor("position_encodings/encodings"),
        **_layers(source, _DECODER_NORMS),
    }
    for index in range(source.layers):
        old, new = f"layer_{index}/attention", f"layers.{index}.encoder_attn"
        state |= source.both(f"{old}/linear_0", f"{new}.q_proj") | source.both(f"{old}/linear_2", f"{new}.out_proj")
        state |= _stacked(source, f"{old}/linear_1", [f"{new}.k_proj", f"{new}.v_proj"])
    return state


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def variables(self) -> Variables:
        if (version := self._number("I")) != _VERSION:
            raise ValueError(f"version {version}")
        self._string()
        self._number("I")
        return dict(self._variable() for _ in range(self._number("I")))

    def _number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self._data, self._at)
        self._at += struct.calcsize(code)
        return int(value)

    def _string(self) -> str:
        size = self._number("H")
        text = self._data[self._at : self._at + size - 1].decode()
        self._at += size
        return text

    def _variable(self) -> tuple[str, Shaped[np.ndarray, "..."]]:
        name = self._string()
        shape = [self._number("I") for _ in range(self._number("B"))]
        dtype = np.dtype(_DTYPES[self._number("B")])
        size = self._number("I")
        array = np.frombuffer(self._data, dtype, size // dtype.itemsize, self._at).reshape(shape)
        self._at += size
        return name, array


class _Source:
    """The variables of one half of the model."""

    def __init__(self, variables: Variables, prefix: str) -> None:
        self._variables, self._prefix = variables, prefix
        self.layers = sum(name.startswith(prefix) and name.endswith("/ffn/linear_0/weight") for name in variables)

    def tensor(self, name: str) -> Tensor:
        name = self._prefix + name
        if name not in self._variables:
            raise WeightsError(f"The CTranslate2 model lacks Whisper's variable '{name}'.")
        if self._variables[name].dtype.kind != "f":
            raise WeightsError(
                f"The variable '{name}' is {self._variables[name].dtype}; expected weights without quantization."
            )
        return torch.from_numpy(self._variables[name].astype(np.float32))

    def both(self, theirs: str, ours: str) -> dict[str, Tensor]:
        return {f"{ours}.{part}": self.tensor(f"{theirs}/{part}") for part in ("weight", "bias")}

    def norm(self, theirs: str, ours: str) -> dict[str, Tensor]:
        return {f"{ours}.weight": self.tensor(f"{theirs}/gamma"), f"{ours}.bias": self.tensor(f"{theirs}/beta")}


_ENCODER_NORMS = {"self_attn_layer_norm": "self_attention/layer_norm", "final_layer_norm": "ffn/layer_norm"}
_DECODER_NORMS = {**_ENCODER_NORMS, "encoder_attn_layer_norm": "attention/layer_norm"}


def _layers(source: _Source, norms: dict[str, str]) -> dict[str, Tensor]:
    """What encoder and decoder have alike: self-attention, feed-forward, norms."""
    state = source.norm("layer_norm", "layer_norm")
    for index in range(source.layers):
        old, new = f"layer_{index}", f"layers.{index}"
        for ours, theirs in norms.items():
            state |= source.norm(f"{old}/{theirs}", f"{new}.{ours}")
        linears = {"self_attn.out_proj": "self_attention/linear_1", "fc1": "ffn/linear_0", "fc2": "ffn/linear_1"}
        for ours, theirs in linears.items():
            state |= source.both(f"{old}/{theirs}", f"{new}.{ours}")
        names = [f"{new}.self_attn.{each}_proj" for each in "qkv"]
        state |= _stacked(source, f"{old}/self_attention/linear_0", names)
    return state


def _stacked(source: _Source, theirs: str, ours: list[str]) -> dict[str, Tensor]:
    """CTranslate2 stacks projections of one input; the key has no bias in Whisper (its part is zero)."""
    parts = {part: source.tensor(f"{theirs}/{part}").chunk(len(ours)) for part in ("weight", "bias")}
    return {
        f"{name}.{part}": tensor.clone()
        for part, tensors in parts.items()
        for name, tensor in zip(ours, tensors, strict=True)
        if not (part == "bias" and name.endswith("k_proj"))
    }
