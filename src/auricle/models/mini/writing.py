"""What Whisper's decoder writes of a window, held to the amount of speech that the connector heard in it.

An attention decoder alone may stop at a pause, with half a window still to come, go round in circles, or write
sentences where nobody speaks. CTC does none of these, though it spells worse: the count of letters that it heard
says when writing may end and when it must.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.models.whisper.modeling_whisper import WhisperDecoder

# English as it is written; "Ġ" is how byte-level BPE writes the space before a word.
WRITABLE = re.compile(r"Ġ?[A-Za-z0-9.,:;?!'%$&-]+")
LEAST, MOST, SPARE = 0.88, 1.3, 8  # letters written per letter heard; a few more where hardly any were heard
_AS_READ = {
    **dict.fromkeys("0123456789", 4),
    "%": 7,
    "$": 7,
    "&": 3,
    "'": 1,
}  # letters of a sign when it is read aloud


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
    def letters(self) -> Int[Tensor, "vocab"]:
        """Letters of every token when it is read aloud; -1 for what is never written."""
        return torch.tensor([letters(piece) if WRITABLE.fullmatch(piece) else -1 for piece in self.pieces])


def letters(text: str) -> int:
    """Letters of a text when it is read aloud."""
    return sum(_AS_READ.get(sign, int(sign.isalpha() and sign != "Ġ")) for sign in text)


def write(
    decoder: WhisperDecoder,
    states: Float[Tensor, "batch frames encoder_dim"],
    heard: Sequence[int],
    script: Script,
) -> list[list[int]]:
    """The likeliest next token, one by one, for every window.

    Args:
        decoder: Whisper's.
        states: of its encoder.
        heard: letters that the connector heard in each window; nothing is written where there are none.
        script: the vocabulary.

    Returns:
        Tokens of each window, without prompt and end.
    """
    device = states.device
    table: Tensor = decoder.embed_tokens.weight
    spoken = script.letters.to(device)
    closed = spoken < 0
    spoken = spoken.clamp(min=0)
    amount = torch.tensor(heard, device=device)
    count, done = torch.zeros_like(amount), amount == 0
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    ids = torch.tensor(script.prompt, device=device).repeat(len(states), 1)
    written = list[Tensor]()
    for _ in range(decoder.max_target_positions - len(script.prompt)):
        if done.all():
            break
        out = decoder(input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
        logits = (out.last_hidden_state[:, -1] @ table.T).masked_fill(closed, -torch.inf)
        logits[:, script.end] = logits[:, script.end].where(count >= LEAST * amount, -torch.inf)
        best = logits.argmax(-1)
        done = done | (best == script.end) | (count + spoken[best] > MOST * amount + SPARE)
        best = best.where(~done, script.end)
        count = count + spoken[best]
        written.append(best)
        ids = best[:, None]
    rows = torch.stack(written, 1).tolist() if written else [[] for _ in heard]
    return [[token for token in row if token != script.end] for row in rows]
