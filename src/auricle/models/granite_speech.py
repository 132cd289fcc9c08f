"""Granite Speech: a conformer encoder, a Q-Former that turns every 0.3 s into 3 tokens, and a Granite decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from auricle.audio import Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.projections import qk_of
from auricle.models.template import Template, template_from_text
from auricle.speech_lm import QK

_ENCODER_RATE = 50  # encoder frames per second: mel frames every 10 ms, stacked in pairs
# What the model card of Granite Speech 3.3 tells the model. Its chat template would write the day's date instead,
# and the same question would be another prompt tomorrow.
_SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)


@final
class GraniteSpeech(HuggingFaceSpeechLM):
    """`GraniteSpeechForConditionalGeneration` with its `GraniteSpeechProcessor`, which needs torchaudio.

    So is `GraniteSpeechPlusForConditionalGeneration`, whose projector reads further layers of the encoder as well.

    The model's LoRA adapter is on while a prompt with speech is read and off while one without is, as in the
    model's own `generate`, and is left as it was found. The three tokens of 0.3 s come from learned queries over
    all of it: their order within it is nominal. The last 0.3 s are padded as the model's projector pads them, so
    that a recording's last token may end up to 0.3 s after it.

    Differs from the model's own processing:
        Recordings are encoded in 30 s windows, each with its own log-mel floor; the model itself has no windows.
        A window of less than 17 ms, for which the processor fails, is padded with silence.
        Where the chat template would write the day's date (Granite 3.3), the model card's system prompt is used.
    """

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps a loaded model and its processor; the model's weights are not changed."""
        super().__init__(model, processor, name)
        self._reading = partial(_lora, self.model)

    @property
    @override
    def tokens_per_second(self) -> float:
        config = self.model.config
        queries: int = config.window_size // config.downsample_rate
        return _ENCODER_RATE * queries / int(config.window_size)

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        extractor = self.processor.audio_processor
        shortest = extractor.melspec_kwargs["n_fft"] // 2 + 1  # the spectrogram reflects half a frame at the edges
        samples = torch.from_numpy(np.pad(window, (0, max(0, shortest - len(window)))))
        inputs = extractor(samples[None])
        features = inputs["input_features"].to(self.device, self.model.dtype)
        with self._reading(True):
            tokens: Tensor = self.model.get_audio_features(features).pooler_output
        return tokens[inputs["input_features_mask"].to(tokens.device)]

    @override
    def _template(self, text: str, query: str) -> Template:
        tokenizer, placeholder = self.processor.tokenizer, self.processor.audio_token
        conversation = [{"role": "user", "content": placeholder + text}]
        if "strftime_now" in tokenizer.get_chat_template():
            conversation.insert(0, {"role": "system", "content": _SYSTEM})
        rendered = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        template = template_from_text(tokenizer, rendered, placeholder, query)
        # The placeholder may lie outside the embedding table; the model embeds 0 in its place, too.
        return replace(template, ids=template.ids.masked_fill(template.ids == self.model.config.audio_token_id, 0))

    @override
    def _first_layer(self) -> QK:
        config = self.model.config.text_config
        with self._reading(True):
            return qk_of(self.model.get_decoder().layers[0], config.num_attention_heads, config.num_key_value_heads)


@contextmanager
def _lora(model: Any, speech: bool) -> Iterator[None]:  # noqa: ANN401
    """Turns the LoRA adapter on for speech and off without, and leaves it as it was; does nothing within itself."""
    if not model._hf_peft_config_loaded:
        yield
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer | ModulesToSaveWrapper)]
    before = [layer.disable_adapters for layer in layers]
    try:
        model._hf_peft_config_loaded = False  # else its generate, given no input_features, turns the adapter off
        for layer in layers:
            layer._disable_adapters = not speech  # enable_adapters() would also make the weights trainable
        yield
    finally:
        for layer, disabled in zip(layers, before, strict=True):
            layer._disable_adapters = disabled
        model._hf_peft_config_loaded = True
