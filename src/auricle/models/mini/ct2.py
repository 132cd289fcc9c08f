"""Reads the weights of a Whisper encoder from a CTranslate2 `model.bin`.

Layout, little endian: u32 version, string spec, u32 revision, u32 count, then per variable: string name, u8 rank,
u32 dims, u8 dtype, u32 bytes, data. A string is u16 length with its trailing zero, then the bytes.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from auricle.errors import WeightsError

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_VERSION = 6

Variables = dict[str, Shaped[np.ndarray, "..."]]


def read(path: Path) -> Variables:
    """All variables of a CTranslate2 model by name.

    Raises:
        WeightsError: the file is no CTranslate2 model of the known version, or is cut off.
    """
    try:
        return _Reader(path.read_bytes()).variables()
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise WeightsError(f"'{path}' is not a whole CTranslate2 model (version {_VERSION}): {error}.") from error


def whisper_encoder(variables: Variables) -> dict[str, Tensor]:
    """State dict of `transformers`' `WhisperEncoder` in float32, from the variables of a CTranslate2 Whisper.

    CTranslate2 stacks q, k and v in `linear_0`; the key has no bias in Whisper (its third is zero).

    Raises:
        WeightsError: a variable is missing or quantized.
    """
    try:
        return _whisper_encoder({k[8:]: v for k, v in variables.items() if k.startswith("encoder/")})
    except KeyError as error:
        raise WeightsError(f"The CTranslate2 model lacks the Whisper encoder's variable {error}.") from error


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


def _whisper_encoder(source: Variables) -> dict[str, Tensor]:
    def tensor(name: str) -> Tensor:
        if source[name].dtype.kind != "f":
            raise WeightsError(
                f"The variable '{name}' is {source[name].dtype}; expected weights without quantization."
            )
        return torch.from_numpy(source[name].astype(np.float32))

    state = {"embed_positions.weight": tensor("position_encodings/encodings")}
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{part}": tensor(f"{conv}/{part}") for part in ("weight", "bias")}
    norms = {"layer_norm": "layer_norm"}
    layers = sum(name.endswith("self_attention/linear_0/weight") for name in source)
    for index in range(layers):
        old, new = f"layer_{index}", f"layers.{index}"
        norms[f"{new}.self_attn_layer_norm"] = f"{old}/self_attention/layer_norm"
        norms[f"{new}.final_layer_norm"] = f"{old}/ffn/layer_norm"
        linears = {"self_attn.out_proj": "self_attention/linear_1", "fc1": "ffn/linear_0", "fc2": "ffn/linear_1"}
        for ours, theirs in linears.items():
            state |= {f"{new}.{ours}.{part}": tensor(f"{old}/{theirs}/{part}") for part in ("weight", "bias")}
        for part in ("weight", "bias"):
            stacked = tensor(f"{old}/self_attention/linear_0/{part}").chunk(3)
            state |= {f"{new}.self_attn.{n}_proj.{part}": t.clone() for n, t in zip("qkv", stacked, strict=True)}
        del state[f"{new}.self_attn.k_proj.bias"]
    for ours, theirs in norms.items():
        state |= {f"{ours}.weight": tensor(f"{theirs}/gamma"), f"{ours}.bias": tensor(f"{theirs}/beta")}
    return state
