"""A tiny random GLM-ASR of the real class, with a processor whose tokenizer is made here."""

from typing import Any

from transformers import GlmAsrConfig, GlmAsrForConditionalGeneration, GlmAsrProcessor, WhisperFeatureExtractor

from models.tiny import qwen2_config, qwen2_tokenizer, random

# The user's turn begins anew behind the audio, and no token ends a turn but the next turn's first.
TEMPLATE = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ '<|begin_of_audio|><|pad|><|end_of_audio|><|user|>\\n' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}"""


def tiny_glm_asr(**text: Any) -> tuple[GlmAsrForConditionalGeneration, GlmAsrProcessor]:
    tokenizer = qwen2_tokenizer("<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|pad|>", "<|end_of_audio|>")
    features = WhisperFeatureExtractor(feature_size=16, return_attention_mask=True)
    processor = GlmAsrProcessor(features, tokenizer, chat_template=TEMPLATE)
    encoder = {
        "model_type": "glmasr_encoder",
        "num_mel_bins": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 16,
        "intermediate_size": 64,  # four states, which the projector reads together
        "initializer_range": 0.3,
    }
    config = GlmAsrConfig(
        audio_config=encoder,
        text_config=qwen2_config(model_type="llama", vocab_size=360) | text,
        audio_token_id=processor.audio_token_id,
    )
    return random(GlmAsrForConditionalGeneration, config, seed=10), processor
