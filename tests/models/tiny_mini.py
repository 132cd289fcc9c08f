"""A tiny random auricle-mini of the real class, with byte-level vocabularies that are made here."""

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperFeatureExtractor

from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.connector import ALPHABET, LETTERS
from auricle.models.mini.modeling import AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AuricleMiniProcessor
from auricle.models.mini.spelling import SPACE
from auricle.models.mini.tracking import Heard
from auricle.models.mini.writing import WRITABLE

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>")
AUDIO_TOKEN_ID = 6  # as in SmolLM2
PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
PIECES = (  # Whisper's tokens, those that are never written last
    *("Ġthe", "Ġan", "Ġ1", "Ġ", *"0123456789.,"),
    *(prefix + letter for letter in ALPHABET[1:] for prefix in ("Ġ", "")),
    *("(", "Ã©", "<|endoftext|>", *PROMPT),
)
TIMES = 3  # rows of Whisper's embedding behind those that have names


def tokenizer() -> PreTrainedTokenizerFast:
    """SmolLM2's special tokens in their places, then the bytes and a few merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [("Ġ", letter) for letter in ALPHABET[1:]]
    merged += [("h", "e"), ("Ġt", "he"), ("Ġa", "n"), ("'", "s"), ("'", "t"), ("t", "s"), ("o", "a"), ("oa", "t")]
    merged += [("Ġb", "oat")]
    tokens = [*SPECIAL, *alphabet, *("".join(pair) for pair in merged)]
    bare = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merged))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    return fast


def config(**text: Any) -> AuricleMiniConfig:
    vocabulary = tokenizer().get_vocab()
    audio = WhisperConfig(
        d_model=16,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=80,
        max_source_positions=1500,
        vocab_size=len(PIECES) + TIMES,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_target_positions=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        decoder_start_token_id=0,
        init_std=0.3,
    )
    options = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,  # answers that vary
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return AuricleMiniConfig(
        audio,
        LlamaConfig(**options | text),
        list(PIECES),
        {token: index for token, index in vocabulary.items() if token == SPACE or WRITABLE.fullmatch(token)},
        prompt_ids=[PIECES.index(piece) for piece in PROMPT],
        end_id=PIECES.index("<|endoftext|>"),
        audio_token_id=AUDIO_TOKEN_ID,
        connector_dim=16,
        connector_layers=1,
    )


def model(seed: int = 1, **text: Any) -> AuricleMiniForConditionalGeneration:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = AuricleMiniForConditionalGeneration(config(**text)).eval()
        # Else it hardly hears a difference, hears a letter in every frame, and writes one token over and over.
        torch.nn.init.normal_(built.connector.net[-1].weight, std=0.5)
        torch.nn.init.normal_(built.audio_decoder.embed_positions.weight)
        with torch.no_grad():
            built.connector.net[-1].bias[LETTERS] += 3
            built.get_input_embeddings().weight[AUDIO_TOKEN_ID] = 0
        return built


def processor() -> AuricleMiniProcessor:
    return AuricleMiniProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer())


def heard(path: str) -> Heard:
    """Letters that are certain, one a frame; "_" is the blank."""
    logits = np.zeros((len(path), LETTERS + 1))
    logits[range(len(path)), [LETTERS if sign == "_" else ALPHABET.index(sign) for sign in path]] = 20
    return Heard(logits - np.logaddexp.reduce(logits, 1, keepdims=True))
