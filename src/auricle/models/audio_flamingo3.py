"""Audio Flamingo 3: Whisper-like encoder, a two-layer projector, Qwen2 decoder; 25 tokens per second.

Its processor cuts recordings into windows of 30 s itself and drops what lies beyond ten minutes; here nothing is
dropped.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template, template_from_text


@final
class AudioFlamingo3(HuggingFaceSpeechLM):
    """Adapter of `AudioFlamingo3ForConditionalGeneration`."""

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
        encoded = self.model.get_audio_features(
            features["input_features"].to(tower.device, tower.dtype), features["attention_mask"].to(tower.device)
        )
        tokens: Tensor = encoded.pooler_output
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return template_from_text(self.processor.tokenizer, rendered, self.processor.audio_token, query)
