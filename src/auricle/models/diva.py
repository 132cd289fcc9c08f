"""DiVA: Whisper's encoder, and 448 learned queries per 30 s that its decoder turns into tokens of a Llama 3."""

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SECONDS, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.projections import qk_of
from auricle.models.template import Template
from auricle.speech_lm import QK


@final
class DiVA(HuggingFaceSpeechLM):
    """`DiVAModel`, the remote code of DiVA-llama-3-v0-8b and its relatives; it brings its processor and tokenizer.

    The question stands in the system prompt, before the speech, as in the model's own `generate`. The tokens of a
    window follow no order in time (`aligned` is False): `times` are nominal, 448 equal parts of 30 s, also for a
    last window that is shorter, which Whisper's processor pads to 30 s. Methods that cut by time mean little here.
    Answers end at the end tokens of the LLM's generation config.

    Differs from the model's own processing:
        Recordings of more than 30 s are encoded in windows of 30 s, whose tokens follow each other; the model's own
        processor drops what is beyond 30 s. The model was not trained on more than one window.

    This adapter is tested on a small random model with the attributes of the published code (`llm_decoder` with
    `pre_system` and `post_system`, or `llama_decoder` with `pre_user_suffix`). It was not run on the published
    weights.
    """

    aligned = False

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any = None,  # noqa: ANN401
        name: str | None = None,
    ) -> None:
        """Wraps a loaded model; its weights are not changed.

        Args:
            model: the loaded model, in evaluation mode and without gradients from here on.
            processor: Whisper's processor; by default the model's own.
            name: what results call it; by default where the model was loaded from.
        """
        diva: Any = model.requires_grad_(False).eval()
        llm = diva.llm_decoder if hasattr(diva, "llm_decoder") else diva.llama_decoder
        # The LLM reads and decodes by itself: the model around it neither takes embeddings nor generates from them.
        super().__init__(llm, diva.tokenizer, name or model.config.name_or_path or type(model).__name__)
        self._diva = diva
        self._features = diva.processor if processor is None else processor

    @property
    @override
    def tokens_per_second(self) -> float:
        connector = self._diva.connector
        tokens: int = connector.query_tokens.numel() // connector.projection.in_features  # 448, or 112 of four each
        return tokens / WINDOW_SECONDS

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        features = self._features(window, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        encoder = self._diva.whisper_encoder
        weight = next(encoder.parameters())
        states = encoder(input_features=features.to(weight.device, weight.dtype)).last_hidden_state
        tokens: Tensor = self._diva.connector(states, output_device=self.device)
        return tokens.reshape(-1, tokens.shape[-1]).to(self._embedding.weight.dtype)

    @override
    def _template(self, text: str, query: str) -> Template:
        before, behind = self._around_system()
        encoded = self.processor(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor(encoded["input_ids"])
        start = text.index(query)
        end = start + len(query)
        inside = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < end and b > start]
        placeholder = torch.zeros(1, dtype=torch.long)
        whole = torch.cat([before, ids, behind, placeholder, self._diva.final_header.cpu()])
        audio = len(before) + len(ids) + len(behind)
        return Template(whole, audio, torch.tensor(inside, dtype=torch.long) + len(before))

    @override
    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.processor(text, add_special_tokens=False)["input_ids"]
        return ids

    @override
    def _first_layer(self) -> QK:
        config = self.model.config
        return qk_of(self.model.model.layers[0], config.num_attention_heads, config.num_key_value_heads)

    def _around_system(self) -> tuple[Int[Tensor, "before"], Int[Tensor, "behind"]]:
        """Token ids that the model writes before and behind the text in the system prompt."""
        if hasattr(self._diva, "pre_system"):
            return self._diva.pre_system.cpu(), self._diva.post_system.cpu()
        return self._diva.pre_user_suffix.cpu(), self._diva.prefix.cpu()
