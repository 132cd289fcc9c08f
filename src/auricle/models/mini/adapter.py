"""auricle-mini under the contract of a Speech LLM."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from typing_extensions import override

from auricle.audio import Waveform, windows_at_pauses
from auricle.errors import ModelError, WeightsError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.mini import assembly
from auricle.models.mini.modeling import TOGETHER, AuricleMiniForConditionalGeneration
from auricle.models.mini.processing import AUDIO_TOKEN, AuricleMiniProcessor
from auricle.models.projections import qk_of
from auricle.models.template import Template, template_from_text
from auricle.speech_lm import QK

SYSTEM = "You listen to a recording and answer questions about it briefly."


@final
class AuricleMini(HuggingFaceSpeechLM):
    """Our own small Speech LLM: Whisper base, a connector, SmolLM2-135M; 12.5 speech tokens a second."""

    @classmethod
    def load(
        cls,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        device_map: object = None,
    ) -> "AuricleMini":
        """Loads the assembled model from the cache.

        Args:
            dtype: of the weights; by default bfloat16 where the processor computes in it, else float32.
            device: where to run it; the CPU by default.
            device_map: passed to `transformers` instead of `device`.

        Raises:
            WeightsError: it was not pulled yet, or its weights are damaged.
            ModelError: there is no such device.
        """
        folder = assembly.model_folder()
        options: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
        try:
            model: Any = AuricleMiniForConditionalGeneration.from_pretrained(
                folder, dtype=dtype or _best_dtype(), **options
            )
            processor: Any = AuricleMiniProcessor.from_pretrained(folder)
        except (OSError, ValueError, SafetensorError) as error:
            raise WeightsError(
                f"The weights in '{folder}' are damaged ({error}); remove that folder and {assembly.PULL}."
            ) from error
        try:
            return cls(model if device is None or options else model.to(device), processor, "auricle-mini")
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"auricle-mini cannot be put on the device '{device}': {error}") from error

    @property
    @override
    def tokens_per_second(self) -> float:
        return 12.5

    @override
    def _windows(self, samples: Waveform) -> Iterator[Waveform]:
        return windows_at_pauses(samples)

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        return next(self._encode_windows([window]))

    @override
    def _encode_windows(self, cut: Sequence[Float[np.ndarray, "_"]]) -> Iterator[Float[Tensor, "_ dim"]]:
        for start in range(0, len(cut), TOGETHER):
            features, lengths = self.processor.features(cut[start : start + TOGETHER])
            tokens: Tensor = self.model.get_audio_features(features.to(self.device), lengths).pooler_output
            yield from tokens.split(lengths.tolist())

    @override
    def _template(self, text: str, query: str) -> Template:
        return template_from_text(self.processor.tokenizer, render(text), AUDIO_TOKEN, query)

    @override
    def _first_layer(self) -> QK:
        text = self.model.config.text_config
        layer = self.model.language_model.model.layers[0]
        return qk_of(layer, text.num_attention_heads, text.num_key_value_heads)


def render(text: str) -> str:
    """SmolLM2's chat prompt with the recording before the user's text."""
    system = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    return f"{system}<|im_start|>user\n{AUDIO_TOKEN}\n{text}<|im_end|>\n<|im_start|>assistant\n"


def _best_dtype() -> torch.dtype:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older releases
    fast = capabilities.get("avx512_bf16", False)
    return torch.bfloat16 if fast else torch.float32
