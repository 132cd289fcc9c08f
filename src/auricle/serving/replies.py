"""What the server says, in OpenAI's format with the object `auricle`."""

import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from auricle.serving.answering import Answered
from auricle.serving.engine import Piece

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Frame:
    """What all parts of a reply have in common.

    Attributes:
        model: as clients call it.
        recording: SHA-256 of the file that was asked.
        id: of the reply.
        created: seconds since 1970.
    """

    model: str
    recording: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, said: Answered) -> dict[str, Any]:
        """A whole answer."""
        message = {"role": "assistant", "content": said.answer.answer, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}
        return self._about("chat.completion", [choice]) | self._extension(said)

    def chunk(self, piece: Piece | Answered, *, first: bool) -> dict[str, Any]:
        """A piece of an answer, or what stands at its end."""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        if isinstance(piece, Piece):
            choice = {"index": 0, "delta": delta | {"content": piece.text}, "finish_reason": None}
            return self._about("chat.completion.chunk", [choice])
        choice = {"index": 0, "delta": delta, "finish_reason": piece.finish}
        return self._about("chat.completion.chunk", [choice]) | self._extension(piece)

    def _about(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _extension(self, said: Answered) -> dict[str, Any]:
        told = asdict(said.answer)
        told.pop("answer"), told.pop("model")
        tokens = said.answer.tokens
        prompt = tokens.kept + tokens.text
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": said.tokens,
            "total_tokens": prompt + said.tokens,
            "prompt_tokens_details": {"audio_tokens": tokens.kept, "cached_tokens": 0},
        }
        about = {"recording": self.recording, **told, "cached": said.cached, "kv_bytes": said.kv_bytes}
        return {"usage": usage, "auricle": about}


async def events(frame: Frame, pieces: AsyncGenerator[Piece | Answered, None]) -> AsyncGenerator[bytes, None]:
    """An answer as server-sent events."""
    first = True
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answered) or piece.text:
                yield event(frame.chunk(piece, first=first))
                first = False
    yield DONE


def event(value: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n".encode()
