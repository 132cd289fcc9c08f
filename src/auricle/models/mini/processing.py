"""Text and speech to auricle-mini's inputs, as a `transformers` processor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoProcessor, BatchFeature, ProcessorMixin

from auricle.audio import SAMPLE_RATE, windows_at_pauses
from auricle.errors import AudioError
from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.modeling import TOKEN_SAMPLES

AUDIO_TOKEN = "<filename>"  # one of SmolLM2's reserved tokens, which no text contains


def token_count(samples: int) -> int:
    """Speech tokens that stand for a window of so many samples at 16 kHz, at 12.5 a second, begun ones included."""
    return -(-samples // TOKEN_SAMPLES)


class AuricleMiniProcessor(ProcessorMixin):
    """Whisper's feature extractor and SmolLM2's tokenizer.

    A recording of any length takes as many placeholders as it has speech tokens; it is cut in pauses into windows
    of at most 30 s.
    """

    attributes = ["feature_extractor", "tokenizer"]  # noqa: RUF012 - transformers' attribute
    feature_extractor_class = "WhisperFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, feature_extractor: Any, tokenizer: Any, chat_template: str | None = None) -> None:  # noqa: ANN401
        """Takes the two parts; the chat template is the tokenizer's unless given."""
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template or tokenizer.chat_template)  # type: ignore[no-untyped-call]

    @property
    def model_input_names(self) -> list[str]:
        """What the model reads of a call's result."""
        return [*super().model_input_names, "audio_lengths"]

    def __call__(
        self,
        text: str,
        audio: Float[np.ndarray, "..."] | None = None,
        sampling_rate: int = SAMPLE_RATE,
        **kwargs: Any,  # noqa: ANN401
    ) -> BatchFeature:
        """Token ids of a rendered prompt and the features of the recording that its placeholder stands for.

        Args:
            text: with `<filename>` once, where the speech is to stand.
            audio: mono samples at 16 kHz.
            sampling_rate: must be 16 kHz.
            kwargs: passed to the tokenizer.

        Raises:
            AudioError: the audio is something else, or empty.
        """
        kwargs = {"return_tensors": "pt"} | kwargs
        if audio is None:
            return BatchFeature(dict(self.tokenizer(text, **kwargs)))
        if sampling_rate != SAMPLE_RATE or audio.ndim != 1 or not len(audio):
            raise AudioError(
                f"Expected mono samples at {SAMPLE_RATE} Hz, but shape {audio.shape} at {sampling_rate} Hz was"
                " given; use auricle.load_audio."
            )
        features, lengths = self.features(list(windows_at_pauses(audio)))
        text = text.replace(AUDIO_TOKEN, AUDIO_TOKEN * int(lengths.sum()))
        encoded = dict(self.tokenizer(text, **kwargs))
        return BatchFeature({**encoded, "input_features": features, "audio_lengths": lengths})

    def features(self, waveforms: Sequence[Float[np.ndarray, "_"]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features of windows of at most 30 s at 16 kHz, padded to 30 s, and each one's speech tokens."""
        extracted = self.feature_extractor(
            [np.asarray(w, dtype=np.float32) for w in waveforms],
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=False,
        )
        return extracted["input_features"], torch.tensor([token_count(len(w)) for w in waveforms])


AutoProcessor.register(AuricleMiniConfig, AuricleMiniProcessor)
