"""The contract of a Speech LLM, and the values that pass between its stages.

`encode` turns a recording into `AudioTokens`; a `Pruner` says which to keep; `prompt` puts them between the
model's own template and the question; `generate` and `loglikelihood` read the `SpeechPrompt`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from auricle.audio import Waveform
from auricle.errors import ModelError, OptionError
from auricle.key_values import Pairs

Positions = Literal["renumber", "original"]


@dataclass(frozen=True)
class AudioTokens:
    """A recording in the LLM's input space.

    Attributes:
        embeds: one vector per speech token, after the projector.
        times: start and end of each token in seconds from the start of the recording.
        aligned: False where a model's tokens of one window do not follow time (`times` is then nominal).
    """

    embeds: Float[Tensor, "audio dim"]
    times: Float[Tensor, "audio 2"]
    aligned: bool = True

    def __len__(self) -> int:
        return len(self.embeds)

    def select(self, keep: Int[Tensor, "kept"]) -> "AudioTokens":
        """The tokens at the indices `keep`."""
        check_indices(keep, len(self))
        return replace(self, embeds=self.embeds[keep.to(self.embeds.device)], times=self.times[keep.cpu()])


@dataclass(frozen=True)
class Query:
    """What the user asked, without system, template or special tokens.

    Attributes:
        text: the question.
        ids: its token ids.
        embeds: its LLM input embeddings.
        choices: the texts of the choices, where there are any; not part of `ids`.
    """

    text: str
    ids: Int[Tensor, "text"]
    embeds: Float[Tensor, "text dim"]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Later:
    """What is left of a prompt when the LLM has read it with its first layers.

    Attributes:
        layer: the decoder layer, from 1 on, before which the others are dropped.
        stays: which of the prompt's tokens are left.
    """

    layer: int
    stays: Bool[Tensor, "tokens"]


@dataclass(frozen=True)
class Inside:
    """What is in an LLM that has read a prompt with its first layers.

    Attributes:
        states: what the next layer is given.
        attention: of the prompt's last token to every token, in the last of these layers.
        keys: of that layer, rotated.
    """

    states: Float[Tensor, "tokens dim"]
    attention: Float[Tensor, "heads tokens"]
    keys: Float[Tensor, "kv_heads tokens head_dim"]


@dataclass(frozen=True)
class SpeechPrompt:
    """Everything that the LLM reads, as vectors.

    Attributes:
        embeds: the whole prompt, one recording a prompt.
        audio: where the speech tokens stand.
        query: where the question's tokens stand.
        times: start and end of each speech token in seconds.
        position_ids: position of every token; None for 0, 1, 2 ...
        past: key/value pairs that stand before `embeds`, at the positions 0, 1, 2 ...: a memory of speech.
        later: what is left of it inside the LLM; None: all.
    """

    embeds: Float[Tensor, "1 tokens dim"]
    audio: Int[Tensor, "audio"]
    query: Int[Tensor, "text"]
    times: Float[Tensor, "audio 2"]
    position_ids: Int[Tensor, "1 tokens"] | None = None
    past: Pairs | None = None
    later: Later | None = None

    def __len__(self) -> int:
        """How much the LLM sees: pairs and vectors."""
        return self.embeds.shape[1] + (0 if self.past is None else len(self.past))

    def keep(
        self,
        keep: Int[Tensor, "kept"],
        positions: Positions = "renumber",
        embeds: Float[Tensor, "kept dim"] | None = None,
    ) -> "SpeechPrompt":
        """The same prompt with only the speech tokens `keep`; everything else stays.

        Args:
            keep: sorted indices into the speech tokens (0 is the first speech token).
            positions: "renumber" closes the gaps, "original" leaves every token where it was.
            embeds: what is read in their places; None: they themselves.

        Raises:
            OptionError: `keep` is not sorted, not unique or out of range.
        """
        check_indices(keep, len(self.audio))
        device = self.embeds.device
        stays = self._stays(keep)
        renumbered = stays.cumsum(0) - 1
        position_ids = None
        if positions == "original":
            counted = torch.arange(len(stays), device=device)[None]
            position_ids = (counted if self.position_ids is None else self.position_ids)[:, stays]
        audio = renumbered[self.audio[keep.to(device)]]
        left = self.embeds[:, stays]
        if embeds is not None:
            left[0, audio] = embeds.to(left)
        return SpeechPrompt(left, audio, renumbered[self.query], self.times[keep.cpu()], position_ids)

    def keep_from(self, layer: int, keep: Int[Tensor, "kept"]) -> "SpeechPrompt":
        """The same prompt, of whose speech tokens the LLM drops all but `keep` before its layer `layer`, from 1 on.

        Raises:
            OptionError: `keep` is not sorted, not unique or out of range.
        """
        check_indices(keep, len(self.audio))
        return replace(self, later=Later(layer, self._stays(keep)))

    def _stays(self, keep: Int[Tensor, "kept"]) -> Bool[Tensor, "tokens"]:
        stays = torch.ones(self.embeds.shape[1], dtype=torch.bool, device=self.embeds.device)
        stays[self.audio] = False
        stays[self.audio[keep.to(stays.device)]] = True
        return stays


@dataclass(frozen=True)
class QK:
    """Query and key projections of the decoder's first layer, as SpeechPrune's second phase needs them.

    Attributes:
        w_q: weights of the query projection, applied as `x @ w_q.T`.
        w_k: weights of the key projection, applied as `x @ w_k.T`.
        heads: number of query heads.
        kv_heads: number of key heads; `heads` is a multiple of it.
        q_norm: what is done to every head of a query before RoPE; most decoders do nothing, Qwen3's normalizes it.
        k_norm: the same, of a key.
    """

    w_q: Float[Tensor, "q_dim dim"]
    w_k: Float[Tensor, "k_dim dim"]
    heads: int
    kv_heads: int
    q_norm: nn.Module = field(default_factory=nn.Identity)
    k_norm: nn.Module = field(default_factory=nn.Identity)

    def queries(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens heads head_dim"]:
        """The queries of what the projection is given, before RoPE."""
        found: Tensor = self.q_norm((x @ self.w_q.to(x.dtype).T).unflatten(1, (self.heads, -1)))
        return found

    def keys(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens kv_heads head_dim"]:
        """The keys of what the projection is given, before RoPE."""
        found: Tensor = self.k_norm((x @ self.w_k.to(x.dtype).T).unflatten(1, (self.kv_heads, -1)))
        return found

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.w_q.shape[0] // self.heads


class SpeechLM(ABC):
    """A Speech LLM whose speech tokens can be dropped before its LLM runs."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the model is called in results."""

    @property
    @abstractmethod
    def tokens_per_second(self) -> float:
        """Speech tokens per second of audio (the paper's f)."""

    @abstractmethod
    def encode(
        self, waveform: Waveform, sampling_rate: int, on_window: Callable[[int, int], None] | None = None
    ) -> AudioTokens:
        """Encodes a recording of any length, window by window, with bounded memory.

        Args:
            waveform: mono samples in -1..1.
            sampling_rate: Hz.
            on_window: called with the windows done and all windows; windows encoded together are told together.

        Raises:
            AudioError: the samples are unusable (see `auricle.audio.prepare`).
        """

    @abstractmethod
    def query(self, text: str, choices: Sequence[str] = ()) -> Query:
        """Embeds what the user asks.

        Raises:
            QueryError: the text is empty, or the choices are empty or not distinct.
        """

    @abstractmethod
    def prompt(
        self, tokens: AudioTokens | None, query: Query, choices: Sequence[str] | None = None
    ) -> SpeechPrompt:
        """Puts speech and question into the model's chat template.

        Args:
            tokens: the speech; None asks without a recording (the prior of an answer).
            query: the question.
            choices: if given, they are listed after the question, with letters; `query.choices` are not.
        """

    @abstractmethod
    def generate(
        self,
        prompt: SpeechPrompt,
        max_new_tokens: int = 64,
        on_prefill: Callable[[], None] | None = None,
        **decoding: object,
    ) -> str:
        """Decodes an answer, greedily unless `decoding` (passed to `transformers`) says otherwise.

        Args:
            prompt: what the LLM reads.
            max_new_tokens: where the answer ends at the latest.
            on_prefill: called once, when the prompt has been read and before the first token is chosen.
            decoding: further options of `transformers`.

        Raises:
            ContextLengthError: the prompt and the answer do not fit into the model's context.
        """

    @abstractmethod
    def loglikelihood(
        self,
        prompt: SpeechPrompt,
        continuations: Sequence[str],
        on_prefill: Callable[[], None] | None = None,
    ) -> Float[Tensor, "continuations"]:
        """Sum of the log-probabilities of each continuation's tokens after the prompt, in nats.

        Args:
            prompt: what the LLM reads, once for all continuations.
            continuations: texts, tokenized as they are; no space is added before them.
            on_prefill: called once, when the prompt has been read.

        Raises:
            ContextLengthError: the prompt and a continuation do not fit into the model's context.
        """

    @abstractmethod
    def first_layer_qk(self) -> QK:
        """Query and key projections of the decoder's first layer."""

    def inside(self, prompt: SpeechPrompt, layers: int) -> Inside:
        """Reads a prompt with the LLM's first `layers` layers only; for methods that look into the LLM.

        Raises:
            ModelError: this Speech LLM does not let anybody look into it.
            OptionError: it has not as many layers, or none is to read.
        """
        raise ModelError(
            f"'{self.name}' cannot read {len(prompt)} tokens with {layers} of its layers only; take a method that"
            " prunes before the LLM, such as 'speechprune'."
        )


def check_indices(keep: Int[Tensor, "kept"], length: int) -> None:
    """Raises OptionError unless `keep` is sorted, unique and within `length`."""
    if len(keep) == 0:
        return
    if int(keep[0]) < 0 or int(keep[-1]) >= length or bool((keep[1:] <= keep[:-1]).any()):
        raise OptionError(
            f"The indices to keep must rise strictly within 0..{length - 1};"
            f" given {len(keep)} from {int(keep.min())} to {int(keep.max())}."
        )
