"""A tiny random Phi-4-multimodal of the real class."""

from typing import Any

from transformers import (
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalProcessor,
)
from transformers.image_processing_utils import BaseImageProcessor

from models.tiny import VOCABULARY, qwen2_tokenizer, random

# What the published processor renders.
TEMPLATE = """\
{%- for message in messages -%}
{{ '<|' + message.role + '|>' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'audio' -%}{{ '<|audio|>' }}{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"""
SHORT_CONTEXT = 512  # tokens up to which RoPE takes its short factors


def phi4_processor() -> Phi4MultimodalProcessor:
    tokenizer = qwen2_tokenizer("<|user|>", "<|assistant|>", "<|end|>", "<|image|>", "<|audio|>")
    for name in ("image", "audio"):
        setattr(tokenizer, f"{name}_token", f"<|{name}|>")
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
    # The model's own image processor needs torchvision; no image is given here.
    return Phi4MultimodalProcessor(
        BaseImageProcessor(), Phi4MultimodalFeatureExtractor(), tokenizer, chat_template=TEMPLATE
    )


def phi4_config(processor: Phi4MultimodalProcessor, **changes: Any) -> Phi4MultimodalConfig:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_token_id": processor.image_token_id,
    }
    audio = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_blocks": 2,
        "num_attention_heads": 2,
        "ext_pw_out_channel": 16,
        "depthwise_separable_out_channel": 16,
        "nemo_conv_channels": 8,
        "initializer_range": 0.3,
        "audio_token_id": processor.audio_token_id,
    }
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": SHORT_CONTEXT,
        "short_factor": [1.0, 1.1, 1.2],
        "long_factor": [1.5, 3.0, 6.0],
    }
    values: dict[str, Any] = {
        "vision_config": vision,
        "audio_config": audio,
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": SHORT_CONTEXT,
        "rope_parameters": rope,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": [VOCABULARY - 1],
        "pad_token_id": None,
    }
    return Phi4MultimodalConfig(**values | changes)


def tiny_phi4(**changes: Any) -> tuple[Phi4MultimodalForCausalLM, Phi4MultimodalProcessor]:
    processor = phi4_processor()
    return random(Phi4MultimodalForCausalLM, phi4_config(processor, **changes)), processor
