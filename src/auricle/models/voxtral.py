"""Voxtral (Mini and Small): a Whisper encoder whose states are joined four by four, before a Mistral decoder."""

from base64 import b64encode
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import accumulate
from typing import Any, final

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform
from auricle.errors import MissingDependencyError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.template import Template


@final
class Voxtral(HuggingFaceSpeechLM):
    """`VoxtralForConditionalGeneration` with its `VoxtralProcessor`.

    As in the model's own processor, the last window is padded to 30 s with silence that is not masked: every window
    costs 375 tokens, and those of the padding carry the times at which they would be heard.

    Differs from the model's own processor for recordings over 30 s: every window's features stand alone, where
    the processor looks across the cuts (3 of 3000 frames) and takes the floor of quiet parts from the loudest frame
    of the whole recording instead of the window's.
    """

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps a loaded model and its processor; the model's weights are not changed.

        Raises:
            MissingDependencyError: mistral-common, which holds the tokenizer and the template, is not installed.
        """
        if find_spec("mistral_common") is None:
            raise MissingDependencyError(
                "Voxtral's tokenizer and chat template need mistral-common, which is not installed;"
                " run: pip install 'auricle[voxtral]'."
            )
        super().__init__(model, processor, name)

    @property
    @override
    def tokens_per_second(self) -> float:
        return 12.5

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        features = self.processor.feature_extractor(
            window,
            sampling_rate=SAMPLE_RATE,
            padding=True,
            pad_to_multiple_of=WINDOW_SAMPLES,
            truncation=False,
            return_tensors="pt",
        )["input_features"]
        tower = self.model.model.audio_tower
        tokens: Tensor = self.model.get_audio_features(features.to(tower.device)).pooler_output
        return tokens

    @override
    def _template(self, text: str, query: str) -> Template:
        # The template is code of mistral-common and wants real audio: a window of silence, folded into one token.
        silence = {"type": "input_audio", "input_audio": {"data": _silence(), "format": "wav"}}
        conversation = [{"role": "user", "content": [silence, {"type": "text", "text": text}]}]
        ids: list[int] = self.processor.tokenizer.apply_chat_template(conversation, return_dict=False)
        mark = self.model.config.audio_token_id
        audio = ids.index(mark)
        behind = ids[audio + ids.count(mark) :]
        inside = self._places(behind, query)
        return Template(torch.tensor([*ids[: audio + 1], *behind]), audio, torch.tensor(inside) + audio + 1)

    @override
    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _places(self, ids: list[int], query: str) -> list[int]:
        """Indices of the tokens that hold the first occurrence of `query`; Tekken gives bytes, not offsets."""
        tekken = self.processor.tokenizer.tokenizer.instruct_tokenizer.tokenizer
        pieces = [tekken.id_to_byte_piece(token) for token in ids]  # a special token has none
        start = b"".join(pieces).index(query.encode())
        end = start + len(query.encode())
        ends = accumulate(len(piece) for piece in pieces)
        return [
            index
            for index, (piece, stop) in enumerate(zip(pieces, ends, strict=True))
            if piece and stop > start and stop - len(piece) < end
        ]


@cache
def _silence() -> str:
    """A tenth of a second of silence as a base64-encoded WAV."""
    buffer = BytesIO()
    soundfile.write(buffer, np.zeros(SAMPLE_RATE // 10, dtype=np.float32), SAMPLE_RATE, format="WAV")
    return b64encode(buffer.getvalue()).decode()
