"""Qwen2.5-Omni: the thinker, which hears and writes; the talker, which speaks, is left alone."""

from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template, template_from_text

# What the model's authors have every conversation begin with.
SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and"
    " visual inputs, as well as generating text and speech."
)


@final
class Qwen25Omni(HuggingFaceSpeechLM):
    """`Qwen2_5OmniThinkerForConditionalGeneration`, alone or inside the full model, with `Qwen2_5OmniProcessor`.

    Multimodal RoPE is plain RoPE for audio and text: its three axes are equal. The encoder looks at 2 s at a time,
    so that windows of 30 s cut nothing apart. A last window of up to 20 ms has no token.

    Differs from the model's own processor for recordings over 30 s: every window's features stand alone, where
    the processor looks across the cuts (3 of 3000 frames) and takes the floor of quiet parts from the loudest frame
    of the whole recording instead of the window's. Nothing is cut off, however long the recording.
    """

    position_axes: ClassVar[int] = 3

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps the thinker, or the thinker of the full model; the model's weights are not changed."""
        name = name or model.config.name_or_path or type(model).__name__
        super().__init__(getattr(model, "thinker", model), processor, name)

    @property
    @override
    def tokens_per_second(self) -> float:
        return 25.0

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        extractor = self.processor.feature_extractor
        # The processor pads with silence up to its cap of minutes. A second of it gives the same frames.
        length = max(WINDOW_SAMPLES, min(extractor.n_samples, WINDOW_SAMPLES + SAMPLE_RATE))
        features = extractor(
            window,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=length,
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
        conversation = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
            {"role": "user", "content": heard},
        ]
        rendered = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        return template_from_text(self.processor.tokenizer, rendered, self.processor.audio_token, query)
