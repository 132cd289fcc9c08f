"""Music Flamingo: as Audio Flamingo 3, but what the encoder says is turned by its time; 25 tokens per second.

Its processor cuts recordings into windows of 30 s itself and drops what lies beyond 20 minutes (30 for Audio
Flamingo Next, which is of this class, too); here nothing is dropped.
"""

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template, template_from_text

_FRAMES = 4  # mel frames of one encoder state


@final
class MusicFlamingo(HuggingFaceSpeechLM):
    """Adapter of `MusicFlamingoForConditionalGeneration`.

    Every encoder state is turned by angles that depend on its window's number and its time in the recording. The
    model's own `get_audio_features` counts both in a whole prompt with all windows at once; here, window by window,
    they are counted alike. Behind its processor's limit they go on.
    """

    @property
    @override
    def tokens_per_second(self) -> float:
        return 25.0

    @override
    def _encode_windows(self, cut: Sequence[Float[np.ndarray, "_"]]) -> Iterator[Float[Tensor, "_ dim"]]:
        return (self._encode_at(number, window) for number, window in enumerate(cut))

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        return self._encode_at(0, window)

    def _encode_at(self, number: int, window: Waveform) -> Float[Tensor, "audio dim"]:
        """Speech tokens of the window that stands behind `number` windows of 30 s."""
        from transformers.models.musicflamingo.modeling_musicflamingo import apply_rotary_time_emb

        features = self.processor.feature_extractor(
            window,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        inner = self.model.model
        tower, mask = inner.audio_tower, features["attention_mask"].to(inner.audio_tower.device)
        states = tower(
            features["input_features"].to(tower.device, tower.dtype), input_features_mask=mask
        ).last_hidden_state
        count = states.shape[1]
        step = self.model.config.audio_frame_step * _FRAMES
        # Multiplied in the model's own order, to be rounded alike: angles are many times the time.
        starts = torch.tensor([[number]], device=states.device) * count * step
        times = starts + torch.arange(count, dtype=torch.float32, device=states.device) * step
        turned = apply_rotary_time_emb(states, *inner.pos_emb(times, seq_len=count))
        heard = int(tower._get_feat_extract_output_lengths(mask.sum(-1))[1])
        tokens: Tensor = inner.multi_modal_projector(turned)[0, :heard]
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        processor = self.processor
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        rendered = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        sound = processor.audio_token
        framed = rendered.replace(sound, f"{processor.audio_bos_token}{sound}{processor.audio_eos_token}", 1)
        return template_from_text(processor.tokenizer, framed, sound, query)
