"""A tiny random Fun-ASR-Nano of the real class, with a processor whose tokenizer is made here."""

from typing import Any

from transformers import (
    FunAsrNanoConfig,
    FunAsrNanoFeatureExtractor,
    FunAsrNanoForConditionalGeneration,
    FunAsrNanoProcessor,
)

from models.tiny import qwen2_config, qwen2_tokenizer, random

# As the published one, the user's text comes first, as context, and the audio last.
TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- set text = message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('\\n') -%}
{%- if text -%}{{ 'In view of this context:\\n' + text + '\\n' }}{%- endif -%}
{{ 'Transcribe: <|object_ref_start|><|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"""


def tiny_fun_asr_nano(**text: Any) -> tuple[FunAsrNanoForConditionalGeneration, FunAsrNanoProcessor]:
    tokenizer = qwen2_tokenizer("<|object_ref_start|>")
    processor = FunAsrNanoProcessor(FunAsrNanoFeatureExtractor(feature_size=8), tokenizer, chat_template=TEMPLATE)
    encoder = {
        "model_type": "fun_asr_nano_encoder",
        "num_mel_bins": 8,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_timestamp_prediction_layers": 1,
        "initializer_range": 0.3,
    }
    adaptor = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "projector_hidden_size": 24,
        "initializer_range": 0.3,
    }
    config = FunAsrNanoConfig(
        audio_config=encoder,
        adaptor_config=adaptor,
        text_config=qwen2_config(model_type="qwen3", head_dim=8) | text,
        audio_token_id=processor.audio_token_id,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    return random(FunAsrNanoForConditionalGeneration, config, seed=4), processor
