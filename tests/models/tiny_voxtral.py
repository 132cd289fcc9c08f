"""A tiny random Voxtral: the real classes, and a real Tekken tokenizer whose file is made here."""

import json
from base64 import b64encode
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    VoxtralConfig,
    VoxtralEncoderConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

AUDIO_TOKEN = 24  # where VoxtralProcessor expects it
SPECIAL = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "<SPECIAL_20>", "[ARGS]", "[CALL_ID]"),
    *("<SPECIAL_23>", "[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]"),
]
# "?\n" is one token, as in Tekken: a question's last token may reach beyond it.
MERGES = [b"?\n", b" t", b"he", b" the", b"an"]
# Words with their space, digits, and punctuation with the line breaks behind it.
PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def tokenizer(folder: Path) -> MistralCommonBackend:
    pieces = [bytes([value]) for value in range(256)] + MERGES
    vocab = [{"rank": i, "token_bytes": b64encode(p).decode(), "token_str": None} for i, p in enumerate(pieces)]
    special = [{"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(SPECIAL)]
    config = {
        "pattern": PATTERN,
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": len(vocab) + len(special),
        "default_num_special_tokens": len(special),
        "version": "v7",
    }
    audio = {
        "sampling_rate": 16_000,
        "frame_rate": 12.5,
        "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
        "chunk_length_s": 30.0,
    }
    path = folder / "tekken.json"
    path.write_text(json.dumps({"config": config, "vocab": vocab, "special_tokens": special, "audio": audio}))
    return MistralCommonBackend(tokenizer_path=path)


def processor(folder: Path, chunk_length: int = 30) -> VoxtralProcessor:
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=chunk_length)
    return VoxtralProcessor(extractor, tokenizer(folder))


def model(seed: int = 0) -> VoxtralForConditionalGeneration:
    torch.manual_seed(seed)
    audio = VoxtralEncoderConfig(
        hidden_size=8, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.2
    )
    text = LlamaConfig(
        vocab_size=len(SPECIAL) + 256 + len(MERGES),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=4096,
        initializer_range=0.5,  # answers that vary
        pad_token_id=11,
    )
    config = VoxtralConfig(audio_config=audio, text_config=text, audio_token_id=AUDIO_TOKEN)
    return VoxtralForConditionalGeneration(config).eval()
