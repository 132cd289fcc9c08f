"""A tiny random Qwen3-Omni: the real classes, thinker and full model, with a tokenizer made here."""

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2Tokenizer,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from models import tiny_omni

EXTRA = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
# What the published template makes of text and audio; it writes a system prompt only if one is given.
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}\
{% if content['type'] == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>\
{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class Processor(Qwen3OmniMoeProcessor):
    """The real processor without its image and video parts, which need torchvision and which audio never meets."""

    def check_argument_for_proper_class(self, argument_name, argument):
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    @property
    def model_input_names(self):
        return [*self.tokenizer.model_input_names, "input_features", "feature_attention_mask"]


def tokenizer(extra: dict[str, str] = EXTRA) -> Qwen2Tokenizer:
    """Bytes, a few merges and special tokens of their own names."""
    merges = [tuple(merge.split()) for merge in tiny_omni.MERGES]
    pieces = ["<|endoftext|>", *sorted(ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    made = Qwen2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges, extra_special_tokens=extra
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


def processor() -> Processor:
    extractor = WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    return Processor(None, None, extractor, tokenizer(), chat_template=TEMPLATE)


AUDIO = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "output_dim": 32,
    "downsample_hidden_size": 4,
    "n_window": 50,
    "n_window_infer": 800,
    "initializer_range": 0.2,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,  # the published models' heads are wider together than the hidden size, too
    "max_position_embeddings": 4096,
    "initializer_range": 0.5,  # answers that vary
}


def thinker_config() -> Qwen3OmniMoeThinkerConfig:
    made = tokenizer()
    ids = {name: made.convert_tokens_to_ids(text) for name, text in EXTRA.items()}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    return Qwen3OmniMoeThinkerConfig(
        audio_config=AUDIO,
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config=TEXT | experts | {"vocab_size": len(made), "rope_parameters": rope},
        audio_token_id=ids["audio_token"],
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_start_token_id=ids["audio_bos_token"],
        vision_start_token_id=ids["vision_bos_token"],
    )


def trained(model: torch.nn.Module) -> torch.nn.Module:
    """With norms of queries and keys that do more than nothing, and logits of some size, as after a training."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                weight.uniform_(0.3, 2.0)
        model.lm_head.weight.mul_(10)
    return model.eval()


def thinker(seed: int = 2) -> Qwen3OmniMoeThinkerForConditionalGeneration:
    torch.manual_seed(seed)
    return trained(Qwen3OmniMoeThinkerForConditionalGeneration(thinker_config()))


def full(seed: int = 2) -> Qwen3OmniMoeForConditionalGeneration:
    """The full model with its talker and the vocoder behind it."""
    torch.manual_seed(seed)
    small = {
        "vocab_size": 32,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    made = Qwen3OmniMoeForConditionalGeneration(
        Qwen3OmniMoeConfig(
            thinker_config=thinker_config().to_dict(),
            talker_config={
                "text_config": small | experts | {"rope_parameters": rope, "shared_expert_intermediate_size": 16},
                "code_predictor_config": small | {"num_code_groups": 2},
                "num_code_groups": 2,
                "thinker_hidden_size": 32,
                "spatial_merge_size": 2,
                "speaker_id": {"ethan": 0},
            },
            code2wav_config={
                "codebook_size": 8,
                "hidden_size": 16,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_quantizers": 2,
                "decoder_dim": 32,
            },
        )
    ).eval()
    made.thinker.load_state_dict(thinker(seed).state_dict())
    return made
