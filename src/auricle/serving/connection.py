"""Who is still there: work for a client that has left is given up."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from auricle.serving.failures import CLOSED, ApiError, api_error
from auricle.serving.replies import event

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; it is cancelled when the client leaves.

    Args:
        receive: of the request, whose body has been read.
        work: what the client waits for.

    Raises:
        ApiError: the client has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(CLOSED, "The client has closed the connection.")
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@final
class Events(Response):
    """Server-sent events; what fails before the first of them is answered as any other error."""

    media_type = "text/event-stream"

    def __init__(self, events: Callable[[], AsyncGenerator[bytes, None]], on_end: Callable[[], None]) -> None:
        """Takes what makes the events, called when the response is sent, and what is called at its end."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._on_end = on_end

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send(scope, receive, send))
        finally:
            self._on_end()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with aclosing(self._events()) as events:
                async for each in events:
                    if not started:
                        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                        await send(head)
                        started = True
                    await send({"type": "http.response.body", "body": each, "more_body": True})
        except Exception as error:
            failed = api_error(error)
            if not started:
                return await failed.response()(scope, receive, send)
            await send({"type": "http.response.body", "body": event(failed.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
