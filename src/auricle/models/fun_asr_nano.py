"""Fun-ASR-Nano: a SenseVoice encoder, a Transformer adaptor and a Qwen3 decoder; a token every 60 ms."""

from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template, template_at

_MARK = "\ufffc"  # stands in for a text


@final
class FunAsrNano(HuggingFaceSpeechLM):
    """`FunAsrNanoForConditionalGeneration` with its `FunAsrNanoProcessor`, which needs torchaudio.

    The model is made for transcripts: its chat template puts the user's text before the speech, as their context.

    Differs from the model's own processing:
        Recordings are encoded in 30 s windows; the model itself has none, and fails beyond two minutes.
        A window of less than 25 ms, for which the processor fails, is padded with silence.
    """

    @property
    @override
    def tokens_per_second(self) -> float:
        extractor = self.processor.feature_extractor
        return 1000 / float(extractor.frame_shift * extractor.stride_lfr)

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        extractor = self.processor.feature_extractor
        shortest = extractor.frame_length * SAMPLE_RATE // 1000
        samples = np.pad(window, (0, max(0, shortest - len(window))))
        features = extractor(samples, sampling_rate=SAMPLE_RATE, return_attention_mask=True)
        features = features.to(self.model.model.audio_tower.device)
        encoded = self.model.get_audio_features(features["input_features"], features["input_features_mask"])
        tokens: Tensor = encoded.pooler_output
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        rendered = self._rendered(text)
        mark = rendered.rindex(self.processor.audio_token)
        # The question may stand in what the template says before it, too.
        start = rendered.index(query, self._rendered(_MARK).index(_MARK))
        return template_at(self.processor.tokenizer, rendered, mark, start, query)

    def _rendered(self, text: str) -> str:
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        rendered: str = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return rendered
