"""Qwen3-Omni: the thinker, which hears and writes; the talker, which speaks, is left alone."""

from collections.abc import Iterator
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.qwen3_audio import TOKENS_PER_SECOND, windows_of_attention
from auricle.models.template import Template, template_from_text


@final
class Qwen3OmniMoe(HuggingFaceSpeechLM):
    """`Qwen3OmniMoeThinkerForConditionalGeneration`, alone or inside the full model, with `Qwen3OmniMoeProcessor`.

    Multimodal RoPE is plain RoPE for audio and text: its three axes are equal. Of the 13 tokens of a second the
    last has 40 ms and the others 80 ms; `times` share the second evenly, and are up to 37 ms early.

    Differs from the model's own processor for recordings over 30 s: every window's features stand alone, where
    the processor looks across the cuts (up to 3 frames each) and takes the floor of quiet parts from the loudest
    frame of the whole recording instead of the window's. The encoder's attention is cut as in the whole recording
    (`auricle.models.qwen3_audio`).
    """

    position_axes: ClassVar[int] = 3

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps the thinker, or the thinker of the full model; the model's weights are not changed."""
        name = name or model.config.name_or_path or type(model).__name__
        super().__init__(getattr(model, "thinker", model), processor, name)

    @property
    @override
    def tokens_per_second(self) -> float:
        return TOKENS_PER_SECOND

    @override
    def _windows(self, samples: Waveform) -> Iterator[Waveform]:
        return windows_of_attention(samples, self.model.config.audio_config.n_window_infer)

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        features = self.processor.feature_extractor(
            window,
            sampling_rate=SAMPLE_RATE,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.model.audio_tower.device)
        encoded = self.model.get_audio_features(features["input_features"], features["attention_mask"])
        tokens: Tensor = encoded.last_hidden_state
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        heard = [{"type": "audio", "audio": ""}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": heard}]
        rendered = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        return template_from_text(self.processor.tokenizer, rendered, self.processor.audio_token, query)
