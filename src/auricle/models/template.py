"""Chat prompts with a place for speech."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Template:
    """A chat prompt with one placeholder for all speech.

    Attributes:
        ids: token ids of the whole prompt, with a single audio placeholder.
        audio: index of the placeholder, which the speech tokens replace.
        query: indices of the question's tokens.
    """

    ids: Int[Tensor, "tokens"]
    audio: int
    query: Int[Tensor, "text"]


def template_from_text(
    tokenizer: Any,  # noqa: ANN401
    rendered: str,
    placeholder: str,
    query: str,
    text: int | None = None,
) -> Template:
    """Tokenizes a rendered chat prompt as a whole and finds the placeholder and the question by characters.

    Args:
        tokenizer: a fast tokenizer (it must give offsets).
        rendered: the prompt, with `placeholder` exactly once.
        placeholder: the audio token's text.
        query: the question, which stands verbatim in the user's text.
        text: where the user's text begins; None: behind the placeholder.
    """
    encoded = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    mark = rendered.index(placeholder)
    start = rendered.index(query, mark + len(placeholder) if text is None else text)
    inside = [i for i, (a, b) in enumerate(offsets) if a < start + len(query) and b > start and b > a]
    audio = next(i for i, (a, b) in enumerate(offsets) if a <= mark < b)
    return Template(torch.tensor(encoded["input_ids"]), audio, torch.tensor(inside, dtype=torch.long))
