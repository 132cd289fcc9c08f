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


def template_from_text(tokenizer: Any, rendered: str, placeholder: str, query: str) -> Template:  # noqa: ANN401
    """Tokenizes a rendered chat prompt as a whole and finds the placeholder and the question by characters.

    Args:
        tokenizer: a fast tokenizer (it must give offsets).
        rendered: the prompt, with `placeholder` exactly once, before the question.
        placeholder: the audio token's text.
        query: the question, which stands verbatim behind the placeholder.
    """
    mark = rendered.index(placeholder)
    return template_at(tokenizer, rendered, mark, rendered.index(query, mark + len(placeholder)), query)


def template_at(tokenizer: Any, rendered: str, mark: int, start: int, query: str) -> Template:  # noqa: ANN401
    """Tokenizes a rendered chat prompt as a whole, whose placeholder and question may stand in any order.

    Args:
        tokenizer: a fast tokenizer (it must give offsets).
        rendered: the prompt.
        mark: the character at which the audio token's text begins.
        start: the character at which the question begins.
        query: the question.
    """
    encoded = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    inside = [i for i, (a, b) in enumerate(offsets) if a < start + len(query) and b > start and b > a]
    audio = next(i for i, (a, b) in enumerate(offsets) if a <= mark < b)
    return Template(torch.tensor(encoded["input_ids"]), audio, torch.tensor(inside, dtype=torch.long))
