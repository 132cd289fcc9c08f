"""Writes CTranslate2's `model.bin`."""

import struct

import torch

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def string(text):
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def write(path, variables, version=6):
    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        data = array.tobytes()
        parts += [string(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", CODES[str(array.dtype)], len(data)), data]
    path.write_bytes(b"".join(parts))
    return path


def as_ct2(state):
    """The variables that CTranslate2's converter makes of a Whisper encoder."""
    dim = state["layer_norm.weight"].numel()
    layers = sum(name.endswith("fc1.weight") for name in state)
    found = {
        "encoder/position_encodings/encodings": state["embed_positions.weight"],
        "decoder/embeddings/weight": torch.zeros(2, 2),
    }
    for conv in ("conv1", "conv2"):
        found |= {f"encoder/{conv}/{part}": state[f"{conv}.{part}"] for part in ("weight", "bias")}
    norms = {"layer_norm": "layer_norm"}
    for layer in range(layers):
        ours, theirs = f"layers.{layer}.", f"encoder/layer_{layer}/"
        norms[f"{ours}self_attn_layer_norm"] = f"layer_{layer}/self_attention/layer_norm"
        norms[f"{ours}final_layer_norm"] = f"layer_{layer}/ffn/layer_norm"
        attention = {n: state[f"{ours}self_attn.{n}_proj.weight"] for n in "qkv"}
        biases = [state[f"{ours}self_attn.q_proj.bias"], torch.zeros(dim), state[f"{ours}self_attn.v_proj.bias"]]
        found[f"{theirs}self_attention/linear_0/weight"] = torch.cat(list(attention.values()))
        found[f"{theirs}self_attention/linear_0/bias"] = torch.cat(biases)
        linears = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
        for name, linear in linears.items():
            found |= {f"{theirs}{name}/{part}": state[f"{ours}{linear}.{part}"] for part in ("weight", "bias")}
    for ours, theirs in norms.items():
        found |= {
            f"encoder/{theirs}/gamma": state[f"{ours}.weight"],
            f"encoder/{theirs}/beta": state[f"{ours}.bias"],
        }
    return {name: tensor.detach().numpy() for name, tensor in found.items()}
