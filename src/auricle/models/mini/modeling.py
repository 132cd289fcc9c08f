"""auricle-mini as a `transformers` model."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from auricle.errors import ModelError
from auricle.models.mini.configuration import AuricleMiniConfig
from auricle.models.mini.connector import STRIDE, Connector
from auricle.models.mini.spelling import HALVES, SPACE, Spelling
from auricle.models.mini.tracking import Heard
from auricle.models.mini.writing import Script, write

HOP = 160  # samples per mel frame, at 16 kHz
MEL_STRIDE = 2  # mel frames per encoder frame
TOGETHER = 8  # windows; the decoder writes a token of each at a time, for little more than it costs to write one's
TOKEN_SAMPLES = HOP * MEL_STRIDE * STRIDE * HALVES  # 1280 samples are 80 ms


@dataclass(frozen=True)
class Speech:
    """What is said in a window.

    Attributes:
        text: what was said.
        ids: the LLM's token of every frame of 12.5 Hz.
    """

    text: str
    ids: Int[Tensor, "audio"]


class AuricleMiniForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Speech and text in, text out: `audio_tower`, `connector`, `audio_decoder`, `language_model`."""

    config_class = AuricleMiniConfig
    main_input_name = "input_ids"
    _tied_weights_keys = {  # noqa: RUF012 - transformers' attribute
        "language_model.lm_head.weight": "language_model.model.embed_tokens.weight"
    }
    _no_split_modules = ["WhisperDecoder", "Connector"]  # noqa: RUF012 - transformers' attribute
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: AuricleMiniConfig) -> None:
        """Builds the model with random weights."""
        super().__init__(config)
        self.audio_tower = WhisperEncoder(config.audio_config)
        self.audio_decoder = WhisperDecoder(config.audio_config)
        self.connector = Connector(
            encoder_dim=config.audio_config.d_model, dim=config.connector_dim, layers=config.connector_layers
        )
        self.script = Script(tuple(config.pieces), tuple(config.prompt_ids), config.end_id)
        self.spelling = Spelling(config.spellings, config.audio_token_id)
        self.language_model = LlamaForCausalLM(config.text_config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the LLM's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def get_decoder(self) -> nn.Module:
        """The LLM's layers, without the head."""
        decoder: nn.Module = self.language_model.model
        return decoder

    @torch.no_grad()
    def hear(
        self, states: Float[Tensor, "windows frames encoder_dim"], audio_lengths: Int[Tensor, "windows"]
    ) -> list[Speech]:
        """What is said in windows of 30 s, and when; not differentiable.

        Args:
            states: of the encoder.
            audio_lengths: speech tokens that each window takes.
        """
        logs = self.connector(states).float().log_softmax(-1).cpu().double().numpy()
        lengths = audio_lengths.tolist()
        heard = [Heard(row[: length * HALVES]) for row, length in zip(logs, lengths, strict=True)]
        written = write(self.audio_decoder, states, heard, self.script)
        found = []
        for each, length in zip(written, lengths, strict=True):
            pieces = [self.script.pieces[token] for token in each.tokens]
            ids = self.spelling.place(pieces, each.frames, length)
            found.append(Speech("".join(pieces).replace(SPACE, " ").strip(), ids.to(states.device)))
        return found

    def get_audio_features(
        self, input_features: Float[Tensor, "windows mels frames"], audio_lengths: Int[Tensor, "windows"]
    ) -> BaseModelOutputWithPooling:
        """Speech tokens of windows of 30 s.

        Args:
            input_features: log-mel features, padded to 30 s.
            audio_lengths: speech tokens that the samples of each window take; those of the padding are dropped.

        Returns:
            `pooler_output` holds the tokens of all windows one after the other, shape `audio dim`.
        """
        heard = list[Speech]()
        for features, lengths in zip(input_features.split(TOGETHER), audio_lengths.split(TOGETHER), strict=True):
            with torch.no_grad():
                states = self.audio_tower(features.to(self.audio_tower.conv1.weight)).last_hidden_state
            heard += self.hear(states, lengths)
        ids = torch.cat([speech.ids for speech in heard])
        return BaseModelOutputWithPooling(pooler_output=self.get_input_embeddings()(ids))

    def forward(
        self,
        input_ids: Int[Tensor, "batch tokens"] | None = None,
        input_features: Float[Tensor, "windows mels frames"] | None = None,
        audio_lengths: Int[Tensor, "windows"] | None = None,
        inputs_embeds: Float[Tensor, "batch tokens dim"] | None = None,
        attention_mask: Int[Tensor, "batch past_and_tokens"] | None = None,
        position_ids: Int[Tensor, "batch tokens"] | None = None,
        past_key_values: Any = None,  # noqa: ANN401 - transformers' caches; it looks for the name
        **kwargs: Any,  # noqa: ANN401 - passed to the decoder
    ) -> CausalLMOutputWithPast:
        """Runs the LLM; speech tokens replace the placeholders of `input_ids` in order."""
        if inputs_embeds is None:
            inputs_embeds = self._merge(input_ids, input_features, audio_lengths)
        out: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        return out

    def _merge(
        self,
        input_ids: Int[Tensor, "batch tokens"] | None,
        input_features: Float[Tensor, "windows mels frames"] | None,
        audio_lengths: Int[Tensor, "windows"] | None,
    ) -> Float[Tensor, "batch tokens dim"]:
        if input_ids is None:
            raise ModelError("Neither input_ids nor inputs_embeds were given; pass one of them.")
        embeds: Tensor = self.get_input_embeddings()(input_ids)
        if input_features is None and audio_lengths is None:
            return embeds
        if input_features is None or audio_lengths is None:
            raise ModelError(
                "One of input_features and audio_lengths is missing; pass both, as the processor does."
            )
        speech: Any = self.get_audio_features(input_features, audio_lengths).pooler_output
        mask = input_ids == self.config.audio_token_id
        if (places := int(mask.sum())) != len(speech):
            raise ModelError(
                f"The prompt has {places} placeholders for {len(speech)} speech tokens; expected as many, as the"
                " processor writes them."
            )
        return embeds.masked_scatter(mask[..., None].expand_as(embeds), speech.to(embeds))

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: Int[Tensor, "batch tokens"],
        inputs_embeds: Float[Tensor, "batch embedded dim"] | None = None,
        **kwargs: Any,  # noqa: ANN401 - as in transformers
    ) -> Any:  # noqa: ANN401 - as in transformers
        """Speech is read with the first step only; later steps find it in the cache."""
        speech = {key: kwargs.pop(key, None) for key in ("input_features", "audio_lengths")}
        first = kwargs.get("is_first_iteration", False) or not kwargs.get("use_cache", True)
        inputs = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)  # type: ignore[misc,arg-type]
        return inputs | speech if first else inputs

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Int[Tensor, "batch tokens"] | None = None,
        **kwargs: Any,  # noqa: ANN401 - as in transformers
    ) -> Any:  # noqa: ANN401 - as in transformers
        """A recording is repeated whole for every beam or answer, not window by window."""
        names = [name for name in ("input_features", "audio_lengths") if kwargs.get(name) is not None]
        speech = {name: kwargs.pop(name) for name in names}
        if speech and expand_size > 1 and (input_ids is None or len(input_ids) != 1):
            raise ModelError(
                "Several beams or answers were asked for of a batch of prompts with speech; call generate for each"
                " prompt."
            )
        expand: Any = super()._expand_inputs_for_generation  # type: ignore[misc]
        ids, kwargs = expand(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )
        return ids, kwargs | {name: torch.cat([each] * expand_size) for name, each in speech.items()}


AutoConfig.register(AuricleMiniConfig.model_type, AuricleMiniConfig)
AutoModelForCausalLM.register(AuricleMiniConfig, AuricleMiniForConditionalGeneration)
