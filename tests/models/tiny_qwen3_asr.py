"""A tiny random Qwen3-ASR: the real classes, with a tokenizer made here."""

import torch
from transformers import (
    Qwen3ASRConfig,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRProcessor,
)

from models import tiny_qwen3_omni

EXTRA = {
    "audio_token": "<|audio_pad|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
# What the published template makes of a context and audio: text of the user is left out, and there is a system turn
# even without a context.
TEMPLATE = """\
{% if messages[0]['role'] != 'system' %}<|im_start|>system
<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for content in message['content'] %}\
{% if content['type'] == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>\
{% elif message['role'] != 'user' %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def processor() -> Qwen3ASRProcessor:
    tokenizer = tiny_qwen3_omni.tokenizer(EXTRA)
    tokenizer.add_tokens(["<asr_text>"])  # decoding shows it, as the published tokenizer's does
    return Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer, chat_template=TEMPLATE)


def tiny_qwen3_asr(seed: int = 4) -> tuple[Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor]:
    made = processor()
    config = Qwen3ASRConfig(
        audio_config=tiny_qwen3_omni.AUDIO | {"model_type": "qwen3_asr_encoder"},
        text_config=tiny_qwen3_omni.TEXT | {"model_type": "qwen3", "vocab_size": len(made.tokenizer)},
        audio_token_id=made.audio_token_id,
        pad_token_id=0,
        eos_token_id=[0, made.tokenizer.convert_tokens_to_ids("<|im_end|>")],
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    return tiny_qwen3_omni.trained(Qwen3ASRForConditionalGeneration(config)), made
