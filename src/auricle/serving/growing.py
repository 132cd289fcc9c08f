"""The text of an answer while its tokens come."""

from collections.abc import Callable, Iterable
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor


@final
class Growing:
    """Tells text as soon as it will not change any more; all that it tells is what `decode` makes of all tokens."""

    def __init__(self, decode: Callable[[Int[Tensor, "answer"]], str]) -> None:
        """Begins an answer; `decode` leaves out the space around a text."""
        self._decode = decode
        self.ids: list[int] = []
        self._told = ""

    def add(self, ids: Iterable[int]) -> str:
        """What is sure by further tokens: without space at its end and without half a character."""
        self.ids += ids
        text = self._whole.rstrip("\N{REPLACEMENT CHARACTER}").rstrip()
        return self._tell(text) if text.startswith(self._told) else ""

    def end(self) -> str:
        """What is left to tell, as no more tokens come."""
        return self._tell(self._whole)

    @property
    def _whole(self) -> str:
        return self._decode(torch.tensor(self.ids, dtype=torch.long))

    def _tell(self, text: str) -> str:
        new = text[len(self._told) :]
        self._told = max(self._told, text, key=len)
        return new
