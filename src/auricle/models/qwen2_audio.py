"""Qwen2-Audio: Whisper-like encoder, a linear projector, Qwen2 decoder; 25 tokens per second.

Its processor silently cuts a recording at 30 s. Here every 30 s are encoded by themselves, each with its own
log-mel normalisation, and all tokens stand in one run behind a single "Audio 1:", which the model accepts.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.masking_utils import create_bidirectional_mask
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template, template_from_text


@final
class Qwen2Audio(HuggingFaceSpeechLM):
    """Adapter of `Qwen2AudioForConditionalGeneration`."""

    @property
    @override
    def tokens_per_second(self) -> float:
        return 25.0

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        features = self.processor.feature_extractor(
            window,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        tower = self.model.model.audio_tower
        convolved, pooled = tower._get_feat_extract_output_lengths(features["attention_mask"].sum(-1))
        # The model has no get_audio_features; without its mask of the padding, a short window's tokens differ.
        places = torch.arange(tower.config.max_source_positions)
        mask = create_bidirectional_mask(
            config=tower.config,
            inputs_embeds=torch.zeros(1, len(places), 1, dtype=tower.dtype, device=tower.device),
            attention_mask=(places < convolved).long()[None].to(tower.device),
        )
        states = tower(features["input_features"].to(tower.device), attention_mask=mask).last_hidden_state
        tokens: Tensor = self.model.model.multi_modal_projector(states)[0, : int(pooled)]
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return template_from_text(self.processor.tokenizer, rendered, self.processor.audio_token, query)
