"""A tiny Speech LLM for any test: random but fixed weights, bytes as its vocabulary, quick as a function."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from auricle.audio import SAMPLE_RATE, WINDOW_SECONDS, Waveform, prepare, windows
from auricle.errors import ContextLengthError
from auricle.questions import check_choices, check_question, list_choices
from auricle.speech_lm import QK, AudioTokens, Inside, Query, SpeechLM, SpeechPrompt


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """A recording of white noise at `SAMPLE_RATE`."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)).astype(np.float32)


def token_times(count: int, tokens_per_second: float) -> Tensor:
    """Start and end of `count` tokens that follow each other without a gap."""
    starts = torch.arange(count, dtype=torch.float64) / tokens_per_second
    return torch.stack([starts, starts + 1 / tokens_per_second], 1).float()


def random_tokens(count: int, tokens_per_second: float = 12.5, dim: int = 16, seed: int = 0) -> AudioTokens:
    """Speech tokens without a recording."""
    embeds = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return AudioTokens(embeds, token_times(count, tokens_per_second))


class FakeSpeechLM(SpeechLM):
    """Tokens are random projections of their samples; an answer's likelihood depends on the mean of the prompt.

    The vocabulary is the 256 bytes, so any text can be asked and every token of a prompt can be told by its vector.
    """

    def __init__(
        self,
        tokens_per_second: float = 12.5,
        *,
        dim: int = 16,
        heads: int = 4,
        kv_heads: int = 2,
        head_dim: int = 4,
        context: int = 1_000_000,
        reply: str | None = None,
        seed: int = 0,
    ) -> None:
        """`reply` is what `generate` says; by default the letter A to D that is most likely."""
        generator = torch.Generator().manual_seed(seed)
        self._tokens_per_second = tokens_per_second
        self.token_samples = SAMPLE_RATE / tokens_per_second
        self.projection = torch.randn(math.ceil(self.token_samples), dim, generator=generator) / 8
        self.bias = torch.randn(dim, generator=generator) / 8
        self.table = torch.randn(256, dim, generator=generator)
        self.qk = QK(
            torch.randn(heads * head_dim, dim, generator=generator),
            torch.randn(kv_heads * head_dim, dim, generator=generator),
            heads,
            kv_heads,
        )
        self.context = context
        self.reply = reply

    @property
    @override
    def name(self) -> str:
        return "fake"

    @property
    @override
    def tokens_per_second(self) -> float:
        return self._tokens_per_second

    @override
    def encode(
        self,
        waveform: Waveform,
        sampling_rate: int = SAMPLE_RATE,
        on_window: Callable[[int, int], None] | None = None,
    ) -> AudioTokens:
        cut = list(windows(prepare(waveform, sampling_rate)))
        embeds, times = [], []
        for index, window in enumerate(cut):
            encoded = self._encode_window(window)
            embeds.append(encoded)
            times.append(token_times(len(encoded), self.tokens_per_second) + index * WINDOW_SECONDS)
            if on_window is not None:
                on_window(index + 1, len(cut))
        return AudioTokens(torch.cat(embeds), torch.cat(times))

    @override
    def query(self, text: str, choices: Sequence[str] = ()) -> Query:
        ids = self.tokenize(check_question(text))
        return Query(text.strip(), ids, self.table[ids], check_choices(choices))

    @override
    def prompt(
        self, tokens: AudioTokens | None, query: Query, choices: Sequence[str] | None = None
    ) -> SpeechPrompt:
        text = list_choices(query.text, check_choices(choices)) if choices else query.text
        before, after = self.table[self.tokenize("user: ")], self.table[self.tokenize(text + "\nanswer: ")]
        speech = self.table[:0] if tokens is None else tokens.embeds
        audio = torch.arange(len(before), len(before) + len(speech))
        question = torch.arange(len(query.ids)) + len(before) + len(speech)
        times = torch.zeros(0, 2) if tokens is None else tokens.times
        return SpeechPrompt(torch.cat([before, speech, after])[None], audio, question, times)

    @override
    def generate(
        self,
        prompt: SpeechPrompt,
        max_new_tokens: int = 64,
        on_prefill: Callable[[], None] | None = None,
        **decoding: object,
    ) -> str:
        self._check_length(len(prompt) + max_new_tokens)
        letters = ["A", "B", "C", "D"]
        best = letters[int(self.loglikelihood(prompt, letters, on_prefill).argmax())]
        return best if self.reply is None else self.reply

    @override
    def loglikelihood(
        self,
        prompt: SpeechPrompt,
        continuations: Sequence[str],
        on_prefill: Callable[[], None] | None = None,
    ) -> Float[Tensor, "continuations"]:
        ids = [self.tokenize(text) for text in continuations]
        self._check_length(len(prompt) + max(map(len, ids), default=0))
        logits = (self.table @ prompt.embeds[0].mean(0)).log_softmax(0)
        if on_prefill is not None:
            on_prefill()
        return torch.stack([logits[continuation].sum() for continuation in ids])

    @override
    def inside(self, prompt: SpeechPrompt, layers: int) -> Inside:
        """Mixed with what came before by each layer, so that what stands where matters."""
        states = prompt.embeds[0]
        for _ in range(layers):
            states = states + states.cumsum(0) / torch.arange(1, len(states) + 1)[:, None]
        qk = self.qk
        queries = (states[-1] @ qk.w_q.T).unflatten(0, (qk.kv_heads, -1, qk.head_dim))
        keys = (states @ qk.w_k.T).unflatten(1, (qk.kv_heads, -1)).transpose(0, 1)
        attention = (queries @ keys.transpose(1, 2)).flatten(0, 1).softmax(-1)
        return Inside(states, attention, keys)

    @override
    def first_layer_qk(self) -> QK:
        return self.qk

    def tokenize(self, text: str) -> Tensor:
        """The bytes of `text`."""
        return torch.tensor(list(text.encode()), dtype=torch.long)

    def _encode_window(self, window: Waveform) -> Tensor:
        count = math.ceil(len(window) / self.token_samples)
        starts = (torch.arange(count) * self.token_samples).long()
        padded = torch.zeros(int(starts[-1]) + len(self.projection))
        padded[: len(window)] = torch.from_numpy(window)[: len(padded)]
        return padded[starts[:, None] + torch.arange(len(self.projection))] @ self.projection + self.bias

    def _check_length(self, length: int) -> None:
        if length > self.context:
            raise ContextLengthError(f"The prompt takes {length} tokens, but fake reads at most {self.context}.")
