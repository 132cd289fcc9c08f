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


def as_ct2(encoder, decoder):
    """The variables that CTranslate2's converter makes of the state dicts of Whisper's two halves."""
    found = {
        **half("encoder/", encoder),
        **half("decoder/", decoder),
        "decoder/embeddings/weight": decoder["embed_tokens.weight"],
    }
    for conv in ("conv1", "conv2"):
        found |= both(encoder, conv, f"encoder/{conv}")
    for layer in range(layers(decoder)):
        ours, theirs = f"layers.{layer}.encoder_attn", f"decoder/layer_{layer}/attention"
        found |= both(decoder, f"{ours}.q_proj", f"{theirs}/linear_0")
        found |= stacked(decoder, ours, "kv", f"{theirs}/linear_1")
        found |= both(decoder, f"{ours}.out_proj", f"{theirs}/linear_2")
        found |= norm(decoder, f"{ours}_layer_norm", f"{theirs}/layer_norm")
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def half(prefix, state):
    found = {f"{prefix}position_encodings/encodings": state["embed_positions.weight"]}
    found |= norm(state, "layer_norm", f"{prefix}layer_norm")
    for layer in range(layers(state)):
        ours, theirs = f"layers.{layer}.", f"{prefix}layer_{layer}/"
        found |= stacked(state, f"{ours}self_attn", "qkv", f"{theirs}self_attention/linear_0")
        found |= both(state, f"{ours}self_attn.out_proj", f"{theirs}self_attention/linear_1")
        found |= norm(state, f"{ours}self_attn_layer_norm", f"{theirs}self_attention/layer_norm")
        found |= both(state, f"{ours}fc1", f"{theirs}ffn/linear_0")
        found |= both(state, f"{ours}fc2", f"{theirs}ffn/linear_1")
        found |= norm(state, f"{ours}final_layer_norm", f"{theirs}ffn/layer_norm")
    return found


def layers(state):
    return sum(name.endswith("fc1.weight") for name in state)


def both(state, ours, theirs):
    return {f"{theirs}/{part}": state[f"{ours}.{part}"] for part in ("weight", "bias")}


def norm(state, ours, theirs):
    return {f"{theirs}/gamma": state[f"{ours}.weight"], f"{theirs}/beta": state[f"{ours}.bias"]}


def stacked(state, ours, names, theirs):
    """Projections one above the other; the key's bias, which Whisper lacks, is zero."""
    weights = [state[f"{ours}.{name}_proj.weight"] for name in names]
    biases = [state.get(f"{ours}.{name}_proj.bias", torch.zeros(len(weights[0]))) for name in names]
    return {f"{theirs}/weight": torch.cat(weights), f"{theirs}/bias": torch.cat(biases)}
