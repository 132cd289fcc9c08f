"""A tiny random Qwen2.5-Omni: the real classes, thinker and full model, with a tokenizer made here."""

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

EXTRA = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
# What the published template makes of text and audio; its own default system prompt is not the authors' one.
TEMPLATE = """\
{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% for content in message['content'] %}\
{% if content['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>\
{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MERGES = ["? Ċ", "Ġ t", "h e", "Ġt he", "a n"]  # "?\n" is one token: a question's last token may reach beyond it


class Processor(Qwen2_5OmniProcessor):
    """The real processor without its image and video parts, which need torchvision and which audio never meets."""

    def check_argument_for_proper_class(self, argument_name, argument):
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    @property
    def model_input_names(self):
        return [*self.tokenizer.model_input_names, "input_features", "feature_attention_mask"]


def tokenizer() -> Qwen2Tokenizer:
    pieces = ["<|endoftext|>", *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
    made = Qwen2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[tuple(merge.split()) for merge in MERGES],
        extra_special_tokens=EXTRA,
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


def processor(chunk_length: int = 300) -> Processor:
    """Published with a cap of 300 s; `WhisperFeatureExtractor` by itself has one of 30 s."""
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=chunk_length, return_attention_mask=True)
    return Processor(None, None, extractor, tokenizer(), chat_template=TEMPLATE)


def thinker_config() -> Qwen2_5OmniThinkerConfig:
    made = tokenizer()
    ids = {name: made.convert_tokens_to_ids(text) for name, text in EXTRA.items()}
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "output_dim": 32,
            "initializer_range": 0.2,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        text_config={
            "vocab_size": len(made),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            "initializer_range": 0.5,  # answers that vary
        },
        audio_token_index=ids["audio_token"],
        image_token_index=ids["image_token"],
        video_token_index=ids["video_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
    )


def thinker(seed: int = 0) -> Qwen2_5OmniThinkerForConditionalGeneration:
    torch.manual_seed(seed)
    return Qwen2_5OmniThinkerForConditionalGeneration(thinker_config()).eval()


def full(seed: int = 0) -> Qwen2_5OmniForConditionalGeneration:
    """The full model with its talker and the vocoder behind it."""
    torch.manual_seed(seed)
    config = Qwen2_5OmniConfig(
        thinker_config=thinker_config().to_dict(),
        talker_config={
            "vocab_size": 32,
            "embedding_size": 32,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            **dict.fromkeys((f"tts_text_{name}_token_id" for name in ("start", "end", "pad")), 0),
            **dict.fromkeys((f"tts_codec_{name}_token_id" for name in ("start", "end", "pad", "mask")), 0),
            **dict.fromkeys(
                (f"{kind}_{name}_token_id" for kind in ("vision", "audio") for name in ("start", "end")), 0
            ),
        },
        token2wav_config={
            "dit_config": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "head_dim": 8,
                "emb_dim": 8,
                "look_ahead_layers": [0],
                "look_backward_layers": [0],
                "num_embeds": 33,
                "mel_dim": 8,
                "enc_emb_dim": 8,
                "enc_dim": 8,
                "enc_channels": [8, 8, 8, 8, 24],
                "enc_attention_channels": 8,
                "enc_se_channels": 8,
            },
            "bigvgan_config": {"mel_dim": 8, "upsample_initial_channel": 64},
        },
    )
    made = Qwen2_5OmniForConditionalGeneration(config).eval()
    made.thinker.load_state_dict(thinker(seed).state_dict())
    made.speaker_map = {"Chelsie": {}}  # the full model's own generate asks for a speaker even for text
    return made
