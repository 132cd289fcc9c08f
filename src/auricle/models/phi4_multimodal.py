"""Phi-4-multimodal: a conformer encoder whose frames are joined eight by eight, before a Phi-4-mini decoder."""

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.models.projections import weight_of
from auricle.models.template import Template, template_from_text
from auricle.speech_lm import QK

_MEL_RATE = 100  # mel frames per second


@final
class Phi4Multimodal(HuggingFaceSpeechLM):
    """`Phi4MultimodalForCausalLM` with its `Phi4MultimodalProcessor`.

    The decoder understands speech only with its speech LoRA, which `from_pretrained` does not load:

        model.load_adapter(path, adapter_name="speech", adapter_kwargs={"subfolder": "speech-lora"})
        model.set_adapter("speech")

    The model is used as it is given: without the adapter it runs, and answers badly. Speech goes through the
    projection for speech alone, not through the one for speech beside images. Loading the processor needs
    torchvision.

    Differs from the model's own processing:
        Recordings are encoded in 30 s windows; the model cuts longer ones at 40 s, behind its convolutions. The
        last 5 ms before a cut are in no frame, as up to 10 ms are in none at the end of any recording.
        A window of less than 25 ms, for which the processor fails, is padded with silence.
        RoPE has other factors beyond `original_max_position_embeddings`. Where an answer carries the prompt over
        that length, the model's own `generate` drops its cache, and with it the prompt; here the prompt stays, with
        the factors that it was read with.
    """

    @property
    @override
    def tokens_per_second(self) -> float:
        return _MEL_RATE / float(self.model.config.audio_config.time_reduction)

    @override
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        extractor = self.processor.audio_processor
        samples = np.pad(window, (0, max(0, extractor.win_length - len(window))))
        inputs = extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        size = int(inputs["audio_embed_sizes"][0])
        # The embedding writes the tokens over placeholders; given nothing but these, its result is the tokens.
        ids = torch.full((1, size), self.model.config.audio_config.audio_token_id, device=self.device)
        tokens: Tensor = self.model.model.embed_tokens_extend(ids, self._embedding(ids), **inputs)
        return tokens[0]

    @override
    def _template(self, text: str, query: str) -> Template:
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        conversation = [{"role": "user", "content": content}]
        rendered = self.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return template_from_text(self.processor.tokenizer, rendered, self.processor.audio_token, query)

    @override
    def _first_layer(self) -> QK:
        config = self.model.config
        attention = self.model.model.layers[0].self_attn
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        widths = [count * attention.head_dim for count in (heads, kv_heads, kv_heads)]
        w_q, w_k, _ = torch.split(weight_of(attention.qkv_proj), widths)
        return QK(w_q, w_k, heads, kv_heads)
