"""A Speech LLM in a few kilobytes: a random Llama of the real class under a made-up ear."""

import torch
from jaxtyping import Float
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.projections import qk_of
from auricle.models.template import Template, template_from_text
from auricle.speech_lm import QK

PER_TOKEN = SAMPLE_RATE * 2 // 25  # samples of a token: 12.5 a second


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the special tokens of a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: index for index, each in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|audio|>"]})
    return fast


class TinyLlama(HuggingFaceSpeechLM):
    """12.5 random but repeatable tokens a second; the same samples give the same tokens."""

    def __init__(self, seed: int = 0, **config: object) -> None:
        tokenizer = byte_tokenizer()
        options = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 80,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.eos_token_id,
        } | config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(LlamaConfig(**options))
            self.ear = torch.randn(PER_TOKEN, model.config.hidden_size) / 10
        super().__init__(model, tokenizer, name="tiny-llama")

    @property
    @override
    def tokens_per_second(self) -> float:
        return 12.5

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        padded = torch.nn.functional.pad(torch.from_numpy(window.copy()), (0, -len(window) % PER_TOKEN))
        return padded.reshape(-1, PER_TOKEN) @ self.ear

    @override
    def _template(self, text: str, query: str) -> Template:
        chat = f"<|im_start|>user\n<|audio|>{text}<|im_end|>\n<|im_start|>assistant\n"
        return template_from_text(self.processor, chat, "<|audio|>", query)

    @override
    def _tokenize(self, text: str) -> list[int]:
        return self.processor(text, add_special_tokens=False)["input_ids"]

    @override
    def _first_layer(self) -> QK:
        return qk_of(self.model.model.layers[0], self.model.config.num_attention_heads, 2)
