"""Tiny random models of the real classes, with processors whose tokenizers are made here."""

import json
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

TEXT = (
    "You are a helpful assistant. system user assistant Audio 1: What is decided in the meeting? Where does the"
    " boat lie? The boat lies in the harbor. A. B. C. D. Answer with the letter of the correct choice only."
)
VOCABULARY = 352  # rows of the embedding table, a few more than the tokenizer has, as in the real models

# What the published processors render; Qwen2-Audio's is the default of its processor class.
FLAMINGO_TEMPLATE = """\
{%- set system = '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -%}
{%- if messages[0].role != 'system' -%}{{ system }}{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- if message.content | selectattr('type', 'equalto', 'audio') | list -%}{{ '<sound>' }}{%- endif -%}
{{ message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') }}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"""


@cache
def _bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE with a few merges, so that tokens are pieces of words."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r"\s*[\r\n]+| ?[^\s\p{L}\p{N}]+| ?\p{L}+|\p{N}|\s+"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def qwen2_tokenizer(*specials: str) -> Qwen2Tokenizer:
    """Qwen2's tokenizer class with a small vocabulary and `specials` beside its own special tokens."""
    vocab, merges = _bpe()
    tokenizer = Qwen2Tokenizer(
        vocab=dict(vocab), merges=list(merges), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *specials]})
    return tokenizer


def qwen2_config(**changes: Any) -> dict[str, Any]:
    """A Qwen2 decoder with two layers and grouped key heads."""
    return {
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,  # answers that vary
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    } | changes


def whisper_like_config(model_type: str) -> dict[str, Any]:
    """A Whisper-like encoder with two layers."""
    return {
        "model_type": model_type,
        "num_mel_bins": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "d_model": 16,
        "max_source_positions": 1500,
        "initializer_range": 0.3,
    }


def random(model_class: Any, config: Any, seed: int = 0) -> Any:
    """A random model in evaluation mode, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class(config).eval()


def tiny_qwen2_audio(**text: Any) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    tokenizer = qwen2_tokenizer("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=16), tokenizer)
    config = Qwen2AudioConfig(
        audio_config=whisper_like_config("qwen2_audio_encoder"),
        text_config=qwen2_config(**text),
        audio_token_index=processor.audio_token_id,
    )
    return random(Qwen2AudioForConditionalGeneration, config, seed=1), processor


def tiny_audio_flamingo3(**text: Any) -> tuple[AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor]:
    tokenizer = qwen2_tokenizer("<sound>")
    features = WhisperFeatureExtractor(feature_size=16, return_attention_mask=True)
    processor = AudioFlamingo3Processor(features, tokenizer, chat_template=FLAMINGO_TEMPLATE)
    config = AudioFlamingo3Config(
        audio_config=whisper_like_config("audioflamingo3_encoder"),
        text_config=qwen2_config(**text),
        audio_token_id=processor.audio_token_id,
    )
    return random(AudioFlamingo3ForConditionalGeneration, config), processor


def tiny_music_flamingo(**text: Any) -> tuple[MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor]:
    tokenizer = qwen2_tokenizer("<sound>", "<|sound_bos|>", "<|sound_eos|>")
    features = WhisperFeatureExtractor(feature_size=16, return_attention_mask=True)
    processor = MusicFlamingoProcessor(features, tokenizer, chat_template=FLAMINGO_TEMPLATE)
    config = MusicFlamingoConfig(
        audio_config=whisper_like_config("audioflamingo3_encoder"),
        text_config=qwen2_config(**text),
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )
    return random(MusicFlamingoForConditionalGeneration, config, seed=2), processor
