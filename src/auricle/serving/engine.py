"""The contract of an engine: prompts in, pieces of text out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from threading import Event
from typing import Literal, TypeVar

from auricle.speech_lm import SpeechLM, SpeechPrompt

Finish = Literal["stop", "length"]
T = TypeVar("T")


class StoppedError(Exception):
    """Work was given up because nobody waits for it any more."""


@dataclass(frozen=True)
class Decoding:
    """How an answer is generated.

    Attributes:
        max_new_tokens: where it ends at the latest.
        temperature: 0 takes the likeliest token, more draws.
        top_p: draws from the likeliest tokens that together have this probability.
        seed: of drawing.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
        text: what comes next; all pieces together are what `SpeechLM.generate` returns.
        tokens: that have been generated so far.
        finish: why the answer ends, in the last piece only.
    """

    text: str
    tokens: int
    finish: Finish | None = None


class Engine(ABC):
    """Runs a Speech LLM for the server, on the thread or machine of its choice."""

    @property
    @abstractmethod
    def lm(self) -> SpeechLM:
        """The model that encodes, prunes and makes prompts; it may only be used inside `call`."""

    @property
    @abstractmethod
    def places(self) -> int:
        """Requests that are in work at a time; the others wait."""

    @abstractmethod
    async def call(self, work: Callable[[SpeechLM, Event], T]) -> T:
        """Has work done with the model, one at a time.

        Args:
            work: is given the model and an event that is set when nobody waits for the result any more; it should
                then raise `StoppedError` soon.
        """

    @abstractmethod
    def generate(
        self, prompt: SpeechPrompt, decoding: Decoding, on_prefill: Callable[[], None]
    ) -> AsyncGenerator[Piece, None]:
        """The answer to a prompt, as it comes; closing the generator stops it.

        Args:
            prompt: of `lm.prompt`.
            decoding: how.
            on_prefill: called once, from any thread, when the prompt has been read.

        Raises:
            ContextLengthError: the prompt and the answer do not fit into the model's context.
        """

    @abstractmethod
    def close(self) -> None:
        """Stops what runs and returns when nothing does any more."""


def checkpoint(stop: Event) -> None:
    """Where work may be given up.

    Raises:
        StoppedError: nobody waits for it.
    """
    if stop.is_set():
        raise StoppedError
