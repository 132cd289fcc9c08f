"""Qwen3-ASR: the speech encoder of Qwen3-Omni, a two-layer projector, and a Qwen3 decoder that transcribes."""

import re
from collections.abc import Iterator
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.errors import ModelError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.qwen3_audio import TOKENS_PER_SECOND, windows_of_attention
from auricle.models.template import Template, template_at

_MARK = "<asr_text>"  # between the language, which the model names first, and what was said


@final
class Qwen3ASR(HuggingFaceSpeechLM):
    """`Qwen3ASRForConditionalGeneration` with its `Qwen3ASRProcessor`: it writes down what it hears.

    Its prompt takes no question: whatever is asked, the answer is a transcript. The question stands where the model
    has its context (names and rare words that may be said), in the system prompt, before the speech; pruners keep
    what is said near it. Answers are without the language that the model names first.

    Of the 13 tokens of a second the last has 40 ms and the others 80 ms; `times` share the second evenly, and are
    up to 37 ms early. As in the model's own processor, a recording of less than half a second is padded to that
    with silence that is not masked: its tokens end after it.

    Differs from the model's own processor for recordings over 30 s: every window's features stand alone, where
    the processor looks across the cuts (up to 3 frames each) and takes the floor of quiet parts from the loudest
    frame of the whole recording instead of the window's. The encoder's attention is cut as in the whole recording
    (`auricle.models.qwen3_audio`).
    """

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps a loaded model and its processor; the model's weights are not changed.

        Raises:
            ModelError: the weights are not in the layout of `transformers`, which leaves them random.
        """
        if hasattr(model.config, "thinker_config"):
            raise ModelError(
                f"'{model.config.name_or_path}' is laid out for the package qwen-asr, and transformers does not"
                " read its weights; take the checkpoint whose name ends in -hf, for example Qwen/Qwen3-ASR-1.7B-hf."
            )
        super().__init__(model, processor, name)

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
            window, sampling_rate=SAMPLE_RATE, padding=True, return_attention_mask=True, return_tensors="pt"
        )
        tower = self.model.model.audio_tower
        encoded = self.model.get_audio_features(
            features["input_features"].to(tower.device, tower.dtype), features["attention_mask"].to(tower.device)
        )
        tokens: Tensor = encoded.pooler_output
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        conversation = [
            {"role": "system", "content": [{"type": "text", "text": text}]},
            {"role": "user", "content": [{"type": "audio", "audio": ""}]},
        ]
        rendered = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        mark = rendered.rindex(self.processor.audio_token)
        start = rendered.index(query, rendered.index("\n"))  # behind the name of the role
        return template_at(self.processor.tokenizer, rendered, mark, start, query)

    @override
    def decode(self, ids: Int[Tensor, "answer"]) -> str:
        """What was said, without the language; nothing while only that is known."""
        text = super().decode(ids)
        if re.fullmatch(r"language( \w*)?", text):
            return ""
        return text.partition(_MARK)[2].strip() if _MARK in text else text
