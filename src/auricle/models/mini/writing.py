"""What Whisper's decoder writes of a window, held to what CTC heard in it.

An attention decoder alone may stop at a pause with half a window still to come, leave sentences out, go round in
circles, or write where nobody speaks. CTC does none of these, though it spells worse. So the next token is the one
that the decoder finds likely and whose letters were heard (`tracking`): one that contradicts what was heard by more
than `LIMIT` nats is not written as long as any other can be, and where the decoder has no such token among its
likeliest, the letters that come next say which to try.

Relatives: Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition".
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from auricle.models.mini.tracking import STAR, Heard, Prefix

# English as it is written; "Ġ" is how byte-level BPE writes the space before a word.
WRITABLE = re.compile(r"Ġ?[A-Za-z0-9.,:;?!'%$&-]+")
WEIGHT = 0.15  # of what CTC heard, beside the decoder's log-probability
LIMIT = 12.0  # nats by which a token may contradict what was heard
LIKELIEST = 6  # tokens of the decoder that are tried
LETTERS_AHEAD = 10  # that a token to try is spelled with
_READ = {"%": "percent", "&": "and", **dict.fromkeys("0123456789", STAR)}
_ABBREVIATIONS = {"Dr": "doctor", "Mr": "mister", "Mrs": "missus"}  # so written: "dr" begins other words


@dataclass(frozen=True)
class Script:
    """Whisper's vocabulary as it is used here.

    Attributes:
        pieces: every token as byte-level BPE writes it.
        prompt: the tokens that ask for an English transcript without times.
        end: the token behind the last word.
    """

    pieces: tuple[str, ...]
    prompt: tuple[int, ...]
    end: int

    @cached_property
    def spoken(self) -> tuple[str | None, ...]:
        """The letters of every token when it is read aloud; None for what is never written."""
        return tuple(spoken(piece) if WRITABLE.fullmatch(piece) else None for piece in self.pieces)

    @cached_property
    def closed(self) -> Bool[Tensor, "vocab"]:
        """What is never written."""
        shut = torch.tensor([letters is None for letters in self.spoken])
        shut[self.end] = False
        return shut

    @cached_property
    def spelled(self) -> Mapping[str, tuple[int, ...]]:
        """The tokens that some letters spell."""
        found: dict[str, list[int]] = defaultdict(list)
        for token, letters in enumerate(self.spoken):
            if letters and STAR not in letters:
                found[letters].append(token)
        return {letters: tuple(tokens) for letters, tokens in found.items()}


@dataclass(frozen=True)
class Written:
    """What was written of a window.

    Attributes:
        tokens: Whisper's, without prompt and end.
        frames: where each of them begins to be said, at 25 Hz.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]


def spoken(piece: str) -> str:
    """Letters of a piece of text when it is read aloud, as far as they are known."""
    bare = piece.removeprefix("Ġ")
    if bare in _ABBREVIATIONS:
        return _ABBREVIATIONS[bare]
    return "".join(_READ.get(sign, sign if sign.isalpha() or sign == "'" else "") for sign in bare.lower())


def write(
    decoder: WhisperDecoder,
    states: Float[Tensor, "windows frames encoder_dim"],
    heard: Sequence[Heard],
    script: Script,
) -> list[Written]:
    """Writes down every window, token by token.

    Args:
        decoder: Whisper's.
        states: of its encoder.
        heard: the connector's log-probabilities, one for each window.
        script: the vocabulary.
    """
    table: Tensor = decoder.embed_tokens.weight[: len(script.pieces)]  # behind them are times, which have no names
    closed = script.closed.to(table.device)
    rows = [_Row(each, script) for each in heard]
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    ids = torch.tensor(script.prompt, device=table.device).repeat(len(rows), 1)
    for _ in range(decoder.max_target_positions - len(script.prompt)):
        out = decoder(input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
        logits = (out.last_hidden_state[:, -1].to(table) @ table.T).float().masked_fill(closed, -torch.inf)
        best = [row.next(logs) for row, logs in zip(rows, logits.log_softmax(-1).cpu(), strict=True)]
        if all(row.done for row in rows):
            break
        ids = torch.tensor(best, device=table.device)[:, None]
    return [Written(tuple(row.tokens), _rising(row.frames)) for row in rows]


def _rising(frames: Sequence[int]) -> tuple[int, ...]:
    """None later than those behind it: more letters may show that a token began earlier than it seemed."""
    return tuple(accumulate(reversed(frames), min))[::-1]


class _Row:
    """A window that is being written."""

    def __init__(self, heard: Heard, script: Script) -> None:
        self.prefix, self.script = Prefix.empty(heard), script
        self.tokens, self.frames, self.done = list[int](), list[int](), False

    def next(self, logs: Float[Tensor, "vocab"]) -> int:
        """Writes the best of the tokens to try."""
        if self.done:
            return self.script.end
        best: tuple[bool, float] = (False, -torch.inf)
        chosen, prefix = self.script.end, self.prefix
        for log, token in sorted(((float(logs[token]), token) for token in self._tries(logs)), reverse=True):
            if best[0] and log < best[1]:
                break  # what was heard only takes from it
            after = self._after(token)
            change = (after.score if token != self.script.end else after.whole) - self.prefix.score
            worth = (change > -LIMIT, log + WEIGHT * change)
            if worth > best:
                best, chosen, prefix = worth, token, after
        self.done = chosen == self.script.end
        if not self.done:
            self.tokens.append(chosen)
            self.frames.append(self._begins(chosen))
            self.prefix = prefix
        return chosen

    def _tries(self, logs: Float[Tensor, "vocab"]) -> set[int]:
        """Never two tokens without letters in a row."""
        ahead = self.prefix.heard.ahead(self.prefix.at, LETTERS_AHEAD)
        tries = {*logs.topk(min(LIKELIEST, len(logs))).indices.tolist(), self.script.end}
        for length in range(1, len(ahead) + 1):
            tries.update(self.script.spelled.get(ahead[:length], ()))
        mute = bool(self.tokens) and not self.script.spoken[self.tokens[-1]]
        return {each for each in tries if each == self.script.end or not mute or self.script.spoken[each]}

    def _after(self, token: int) -> Prefix:
        prefix = self.prefix
        for letter in self.script.spoken[token] or "" if token != self.script.end else "":
            prefix = prefix.then(letter)
        return prefix

    def _begins(self, token: int) -> int:
        letters = self.script.spoken[token]
        return max((self.prefix.then(letters[0]) if letters else self.prefix).at - 1, 0)
