"""A tiny random Granite Speech of the real class, with and without a LoRA adapter."""

from typing import Any

import torch
from peft import LoraConfig
from transformers import (
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechPlusConfig,
    GraniteSpeechPlusForConditionalGeneration,
    GraniteSpeechProcessor,
)

from models.tiny import qwen2_tokenizer, random

# What Granite 3.3 renders: a system prompt with the day's date, unless the conversation has its own.
TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
{{ '<|start_of_role|>system<|end_of_role|>Today\\'s Date: ' + strftime_now('%B %d, %Y') + '.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif -%}"""


def granite_processor(template: str = TEMPLATE) -> GraniteSpeechProcessor:
    tokenizer = qwen2_tokenizer("<|start_of_role|>", "<|end_of_role|>", "<|audio|>")
    tokenizer.chat_template = template
    return GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer)


def granite_config(audio_token_id: int, plus: bool = False) -> GraniteSpeechConfig | GraniteSpeechPlusConfig:
    """The audio token is the first id beyond the embedding table, as where the table was not enlarged.

    In Granite Speech Plus, the projector reads the encoder's first and last states side by side.
    """
    text = {
        "model_type": "granite",
        "vocab_size": audio_token_id,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "embedding_multiplier": 12.0,
        "logits_scaling": 0.5,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    encoder = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2, "output_dim": 5, "feedforward_mult": 2}
    if plus:
        encoder["cat_hidden_layers"] = [1]
    projector = {
        "model_type": "blip_2_qformer",
        "hidden_size": 16,
        "encoder_hidden_size": 32 if plus else 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.3,
    }
    return (GraniteSpeechPlusConfig if plus else GraniteSpeechConfig)(
        text_config=text,
        encoder_config=encoder,
        projector_config=projector,
        audio_token_index=audio_token_id,
        has_lora_adapter=False,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )


def tiny_granite(plus: bool = False) -> tuple[Any, GraniteSpeechProcessor]:
    """`GraniteSpeechForConditionalGeneration`, or `GraniteSpeechPlusForConditionalGeneration`."""
    processor = granite_processor()
    audio_token_id = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    model_class = GraniteSpeechPlusForConditionalGeneration if plus else GraniteSpeechForConditionalGeneration
    return random(model_class, granite_config(audio_token_id, plus)), processor


def add_lora(model: Any, *targets: str, **options: Any) -> None:
    """A LoRA adapter that changes the model's outputs, on as after loading."""
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=list(targets), **options))
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
