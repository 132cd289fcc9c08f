"""What all adapters of Hugging Face models share: windows, prompts, decoding and likelihoods by `inputs_embeds`."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform, prepare, windows
from auricle.errors import ContextLengthError, ModelError
from auricle.fingerprint import fingerprint
from auricle.models.layers import dropping, inside
from auricle.models.likelihood import Prefill, loglikelihoods
from auricle.models.projections import qk_of
from auricle.models.template import Template
from auricle.questions import check_choices, check_question, list_choices
from auricle.speech_lm import QK, AudioTokens, Inside, Query, SpeechLM, SpeechPrompt


class HuggingFaceSpeechLM(SpeechLM):
    """A `transformers` model with its processor. Adapters say how it encodes, asks, and where its layers are."""

    # Rows of `position_ids` that the decoder wants: 3 for multimodal RoPE, which is plain RoPE for speech and text.
    position_axes: ClassVar[int] = 1
    # Whether the tokens of a window follow time (DiVA's 448 learned queries do not).
    aligned: ClassVar[bool] = True

    def __init__(self, model: PreTrainedModel, processor: Any, name: str | None = None) -> None:  # noqa: ANN401
        """Wraps a loaded model and its processor; the model's weights are not changed.

        Args:
            model: the loaded model, in evaluation mode and without gradients from here on.
            processor: its processor (feature extractor, tokenizer, chat template).
            name: what results call it; by default where the model was loaded from.
        """
        self.model: Any = model.requires_grad_(False).eval()
        self.processor = processor
        self._name = name or model.config.name_or_path or type(model).__name__
        # Held while the LLM reads a prompt, and told whether it has speech (Granite's LoRA is on only then).
        self._reading: Callable[[bool], AbstractContextManager[object]] = nullcontext

    # -- what an adapter says ------------------------------------------------------------------------------------

    def _windows(self, samples: Waveform) -> Iterator[Waveform]:
        """The windows that a recording is encoded in, at most 30 s: of 30 s, as the models' processors cut."""
        return windows(samples, WINDOW_SAMPLES)

    @abstractmethod
    def _encode_window(self, window: Waveform) -> Float[Tensor, "audio dim"]:
        """Speech tokens of at most 30 s of 16 kHz audio, after the projector."""

    def _encode_windows(self, cut: Sequence[Float[np.ndarray, "_"]]) -> Iterator[Float[Tensor, "_ dim"]]:
        """Speech tokens of every window, in order; lazily, since progress is told as they come.

        By default one window at a time, as the encoders are large.
        """
        return map(self._encode_window, cut)

    @abstractmethod
    def _template(self, text: str, query: str) -> Template:
        """The model's chat prompt for one recording and the user's `text`, of which `query` is a part."""

    def _tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens; by default of the processor's tokenizer."""
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _first_layer(self) -> QK:
        """Query and key projections of the decoder's first layer; by default where most speech models have it."""
        config = self.model.config.text_config
        layer = self.model.model.language_model.layers[0]
        return qk_of(layer, config.num_attention_heads, config.num_key_value_heads)

    # -- the contract --------------------------------------------------------------------------------------------

    @property
    @final
    @override
    def name(self) -> str:
        return self._name

    @property
    @final
    def device(self) -> torch.device:
        """Where the input embeddings live, and with them every prompt."""
        return self._embedding.weight.device

    @final
    @override
    @torch.inference_mode()
    def encode(
        self,
        waveform: Waveform,
        sampling_rate: int = SAMPLE_RATE,
        on_window: Callable[[int, int], None] | None = None,
    ) -> AudioTokens:
        samples = prepare(waveform, sampling_rate)
        embeds, times, before = [], [], 0
        cut = list(self._windows(samples))
        for number, (window, tokens) in enumerate(zip(cut, self._encode_windows(cut), strict=True), 1):
            embeds.append(tokens.to(self.device))
            starts = torch.arange(len(tokens), dtype=torch.float64) / self.tokens_per_second
            starts = starts + before / SAMPLE_RATE
            before += len(window)
            times.append(torch.stack([starts, starts + 1 / self.tokens_per_second], dim=1).float())
            if on_window:
                on_window(number, len(cut))
        return AudioTokens(torch.cat(embeds), torch.cat(times), self.aligned)

    @final
    @override
    @torch.inference_mode()
    def query(self, text: str, choices: Sequence[str] = ()) -> Query:
        question = check_question(text)
        ids = torch.tensor(self._tokenize(question), device=self.device)
        return Query(question, ids, self._embedding(ids), check_choices(choices))

    @final
    @override
    @torch.inference_mode()
    def prompt(
        self, tokens: AudioTokens | None, query: Query, choices: Sequence[str] | None = None
    ) -> SpeechPrompt:
        template = self.template(query.text, choices)
        embeds = self._embedding(template.ids.to(self.device))
        speech = embeds[:0] if tokens is None else tokens.embeds.to(embeds)
        times = torch.zeros(0, 2) if tokens is None else tokens.times
        joined = torch.cat([embeds[: template.audio], speech, embeds[template.audio + 1 :]])
        question = template.query + (template.query > template.audio) * (len(speech) - 1)
        audio = torch.arange(template.audio, template.audio + len(speech), device=self.device)
        return SpeechPrompt(joined[None], audio, question.to(self.device), times)

    @final
    @override
    @torch.inference_mode()
    def generate(
        self,
        prompt: SpeechPrompt,
        max_new_tokens: int = 64,
        on_prefill: Callable[[], None] | None = None,
        **decoding: object,
    ) -> str:
        self.check_length(len(prompt) + max_new_tokens)
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": max_new_tokens, **decoding}
        if on_prefill:
            options["logits_processor"] = [*options.get("logits_processor", ()), _Notice(on_prefill)]
        if prompt.position_ids is not None:
            options["position_ids"] = self.axes(prompt.position_ids)
        embeds = prompt.embeds
        if prompt.past is not None:  # transformers leaves out as many of the embeddings as the cache holds pairs
            options["past_key_values"] = self._cache(prompt)
            embeds = torch.cat([embeds.new_zeros(1, len(prompt.past), embeds.shape[2]), embeds], 1)
        mask = torch.ones(1, len(prompt), dtype=torch.long, device=self.device)
        with self._reads(prompt):
            ids = self.model.generate(inputs_embeds=embeds, attention_mask=mask, **options)
        return self.decode(ids[0])

    @final
    @override
    @torch.inference_mode()
    def loglikelihood(
        self,
        prompt: SpeechPrompt,
        continuations: Sequence[str],
        on_prefill: Callable[[], None] | None = None,
    ) -> Float[Tensor, "continuations"]:
        encoded = [torch.tensor(self._tokenize(c), device=self.device) for c in continuations]
        self.check_length(len(prompt) + max((len(ids) for ids in encoded), default=0))
        with self._reads(prompt):
            read = self._prefill(prompt)
            if on_prefill:
                on_prefill()
            return loglikelihoods(read, encoded, self._step).cpu()

    @override
    @final
    def first_layer_qk(self) -> QK:
        return self._first_layer()

    # -- below the contract --------------------------------------------------------------------------------------

    @final
    @torch.inference_mode()
    def logits(self, prompt: SpeechPrompt) -> Float[Tensor, "tokens vocab"]:
        """Logits after every token of the prompt, or of those that are left of it inside the LLM."""
        positions = self._positions(prompt)
        mask = torch.ones(1, len(prompt), dtype=torch.long, device=self.device)
        with self._reads(prompt):
            out = self.model(
                inputs_embeds=prompt.embeds,
                attention_mask=mask,  # else positions with gaps pass for packed sequences
                position_ids=self.axes(positions),
                past_key_values=self._cache(prompt),
                use_cache=prompt.past is not None,
            )
        logits: Tensor = out.logits[0]
        return logits

    @final
    @torch.inference_mode()
    def prefill(self, prompt: SpeechPrompt) -> Prefill:
        """Reads the prompt once, for the answers that follow.

        Raises:
            ContextLengthError: the prompt does not fit into the model's context.
        """
        with self._reads(prompt):
            return self._prefill(prompt)

    @final
    @override
    @torch.inference_mode()
    def inside(self, prompt: SpeechPrompt, layers: int) -> Inside:
        self.check_length(len(prompt))
        mask = torch.ones(1, len(prompt), dtype=torch.long, device=self.device)
        position_ids = self.axes(self._positions(prompt))
        options = {"attention_mask": mask, "position_ids": position_ids, "use_cache": False}
        with self._reading(len(prompt.audio) > 0):
            read = partial(self.model, inputs_embeds=prompt.embeds, **options)
            return inside(self.model.get_decoder(), layers, read)

    @contextmanager
    def _reads(self, prompt: SpeechPrompt) -> Iterator[None]:
        """Held while the prompt is read and answered."""
        with self._reading(len(prompt.audio) > 0), dropping(self.model.get_decoder(), prompt.later):
            yield

    def _prefill(self, prompt: SpeechPrompt) -> Prefill:
        self.check_length(len(prompt))
        positions = self._positions(prompt)
        cache = self._cache(prompt)
        out = self.model(
            inputs_embeds=prompt.embeds,
            position_ids=self.axes(positions),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return Prefill(out.logits[0, -1], cache, len(prompt), int(positions[0, -1]) + 1)

    def _step(
        self, ids: Int[Tensor, "rows tokens"], positions: Int[Tensor, "rows tokens"], cache: DynamicCache
    ) -> Float[Tensor, "rows tokens vocab"]:
        """Logits after text that follows what the cache holds, which then holds the text, too."""
        embeds = self._embedding(ids)
        out = self.model(
            inputs_embeds=embeds, position_ids=self.axes(positions), past_key_values=cache, use_cache=True
        )
        logits: Tensor = out.logits
        return logits

    def _positions(self, prompt: SpeechPrompt) -> Int[Tensor, "1 tokens"]:
        if prompt.position_ids is not None:
            return prompt.position_ids
        return torch.arange(len(prompt), device=self.device)[None, -prompt.embeds.shape[1] :]

    def _cache(self, prompt: SpeechPrompt) -> DynamicCache:
        """What stands before the prompt's vectors."""
        return DynamicCache() if prompt.past is None else prompt.past.cache(self.model.get_decoder().rotary_emb)

    @final
    def axes(self, positions: Int[Tensor, "batch tokens"]) -> Int[Tensor, "*axes batch tokens"]:
        """Positions as the decoder wants them: once for each axis of its RoPE."""
        return positions if self.position_axes == 1 else positions.expand(self.position_axes, *positions.shape)

    @final
    def template(self, question: str, choices: Sequence[str] | None = None) -> Template:
        """The prompt of a question, with its choices listed if there are any, as tokens on the CPU."""
        text = list_choices(question, check_choices(choices)) if choices else question
        return self._template(text, question)

    @property
    @final
    def plain(self) -> bool:
        """Whether its decoder reads speech as it reads text, at positions of one axis."""
        return self.position_axes == 1 and self._reading is nullcontext

    @final
    def embed(self, ids: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens dim"]:
        """The LLM's embeddings of tokens."""
        embeds: Tensor = self._embedding(ids.to(self.device))
        return embeds

    def decode(self, ids: Int[Tensor, "answer"]) -> str:
        """The text of generated tokens, as `generate` returns it."""
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    @final
    def answer_ids(self, answer: str) -> Int[Tensor, "answer"]:
        """Tokens of an answer, with the one that ends it, on the CPU.

        Raises:
            ModelError: no token ends what the model generates.
        """
        return torch.tensor([*self._tokenize(answer), self._end_id])

    @cached_property
    def encoder_hash(self) -> str:
        """Of what speech tokens depend on: every weight but those of the LLM's layers, and the configuration."""
        decoder: nn.Module = self.model.get_decoder()
        after = {id(weight) for name, weight in decoder.named_parameters() if name.startswith("layers.")}
        every = self.model.state_dict(keep_vars=True).items()
        return fingerprint(self._about, ((name, weight) for name, weight in every if id(weight) not in after))

    @property
    def weights_hash(self) -> str:
        """Of every weight, by a sample of it, and the configuration."""
        return fingerprint(self._about, self.model.state_dict().items(), sampled=True)

    @property
    def _about(self) -> str:
        return f"{type(self).__name__} {self.model.config.to_json_string()}"

    @cached_property
    def _end_id(self) -> int:
        """The token behind an answer: of those that end generation, the one that the chat template writes."""
        given = self.model.generation_config.eos_token_id
        if given is None:
            raise ModelError(f"{self.name} has no end of an answer; set its generation_config.eos_token_id.")
        ends = given if isinstance(given, list) else [given]
        written = self._template("Hello", "Hello").ids.tolist()
        return int(next((end for end in ends if end in written), ends[0]))

    @property
    @final
    def context(self) -> int | None:
        """The most tokens that the LLM reads; None where its configuration does not say."""
        found: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return found

    @final
    def check_length(self, length: int) -> None:
        """Whether the model's context holds that many tokens.

        Raises:
            ContextLengthError: it does not.
        """
        if self.context is not None and length > self.context:
            raise ContextLengthError(
                f"The prompt and its answer take {length} tokens, but {self.name} reads at most {self.context};"
                " raise the pruning rate, or the compression ratio of a memory."
            )

    @property
    def _embedding(self) -> nn.Embedding:
        embedding: nn.Embedding = self.model.get_input_embeddings()
        return embedding


class _Notice(LogitsProcessor):
    """Changes no logits; the first of its calls, right after the prompt was read, notifies."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self.notify: Callable[[], None] | None = notify

    @override
    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self.notify:
            self.notify()
        self.notify = None
        return scores
