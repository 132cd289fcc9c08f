"""A small random model with the attributes that DiVA's remote code has, in its two published forms."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from models.tiny import VOCABULARY, qwen2_tokenizer

QUERIES = 448
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"


class FakeConnector(nn.Module):
    """Learned queries through Whisper's decoder; `join` of them make one token of the LLM."""

    def __init__(self, decoder: nn.Module, width: int, llm_width: int, join: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.query_tokens = nn.Parameter(torch.randn(QUERIES, width))
        self.projection = nn.Linear(width * join, llm_width)
        self.join = join

    def forward(self, states: Tensor, output_device: Any) -> Tensor:
        queries = self.query_tokens.expand(len(states), -1, -1)
        read = self.decoder(inputs_embeds=queries, encoder_hidden_states=states)[0]
        if self.join > 1:  # the published code drops the batch here
            read = read.reshape(QUERIES // self.join, -1)
        return self.projection(read).to(output_device)


class FakeDiVA(PreTrainedModel):
    """Whisper encoder, connector, Llama; `generate` reads audio and a text for the system prompt."""

    config_class = PreTrainedConfig

    def __init__(self, decoder_name: str, join: int) -> None:
        super().__init__(PreTrainedConfig())
        whisper = WhisperModel(
            WhisperConfig(
                num_mel_bins=16,
                d_model=16,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                vocab_size=8,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=0,
                decoder_start_token_id=0,
                init_std=0.3,
            )
        )
        llm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                initializer_range=0.3,
                bos_token_id=None,
                eos_token_id=VOCABULARY - 1,
            )
        )
        self.whisper_encoder = whisper.encoder
        self.connector = FakeConnector(whisper.decoder, 16, 32, join)
        setattr(self, decoder_name, llm)
        self.processor = WhisperFeatureExtractor(feature_size=16)
        self.tokenizer = qwen2_tokenizer(
            "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
        )
        user, system = HEADER.format("user"), HEADER.format("system")
        if decoder_name == "llm_decoder":
            self.pre_system = self._ids("<|begin_of_text|>" + system)
            self.post_system = self._ids("\n<|eot_id|>" + user)
        else:
            self.pre_user_suffix = self._ids("<|begin_of_text|>" + system)
            self.prefix = self._ids("<|begin_of_text|>" + user)
        self.final_header = self._ids("<|eot_id|>" + HEADER.format("assistant"))

    @property
    def llm(self) -> LlamaForCausalLM:
        return self.llm_decoder if hasattr(self, "llm_decoder") else self.llama_decoder

    def _ids(self, text: str) -> Tensor:
        return self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]

    @torch.inference_mode()
    def speech(self, audio: np.ndarray) -> Tensor:
        """The tokens of at most 30 s."""
        features = self.processor(audio, return_tensors="pt", sampling_rate=16_000).input_features
        states = self.whisper_encoder(input_features=features)["last_hidden_state"]
        return self.connector(states, output_device="cpu").squeeze(0)

    @torch.inference_mode()
    def merge(self, speech: Tensor, text: str) -> Tensor:
        """What the LLM reads: the system prompt with the text, the speech as the user's turn."""
        new = hasattr(self, "pre_system")
        before = self.pre_system if new else self.pre_user_suffix
        behind = self.post_system if new else self.prefix
        table = self.llm.get_input_embeddings()
        return torch.cat([table(torch.cat([before, self._ids(text), behind])), speech, table(self.final_header)])

    @torch.inference_mode()
    def generate(self, audio: np.ndarray, text: str, end: int, max_new_tokens: int) -> str:
        """Greedy, and without a cache: every token is read anew."""
        embeds = self.merge(self.speech(audio), text)[None]
        answer: list[int] = []
        while len(answer) < max_new_tokens and end not in answer:
            best = self.llm(inputs_embeds=embeds).logits[0, -1].argmax()
            embeds = torch.cat([embeds, self.llm.get_input_embeddings()(best)[None, None]], dim=1)
            answer.append(int(best))
        return self.tokenizer.decode(answer, skip_special_tokens=True)


def fake_diva(decoder_name: str = "llm_decoder", join: int = 1, seed: int = 0) -> FakeDiVA:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FakeDiVA(decoder_name, join).eval()
