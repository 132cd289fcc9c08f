"""A language model's endpoint in a thread: real HTTP, made-up replies."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Raw:
    """An HTTP response that is no chat; a failing one asks to be asked again at once."""

    status: int
    body: str = '{"error": {"message": "as the test wants it"}}'
    content_type: str = "application/json"


@dataclass
class ChatServer:
    """What was asked of the server so far.

    Attributes:
        url: of the endpoint.
        bodies: of the requests, in the order in which they came.
        headers: of the requests.
        connected: connections that are open.
        most: requests that were in work at a time, at most.
    """

    respond: Callable[[dict[str, Any]], str | dict[str, Any] | Raw]
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connected: int = 0
    most: int = 0
    working: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_until_left(self) -> None:
        """Waits until every client has closed its connection."""
        until = time.monotonic() + 30
        while self.connected and time.monotonic() < until:
            time.sleep(0.01)
        assert self.connected == 0, "a client left a connection open"

    def answer(self, body: dict[str, Any], headers: dict[str, str]) -> Raw:
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.working += 1
            self.most = max(self.most, self.working)
        try:
            reply = self.respond(body)
        finally:
            with self.lock:
                self.working -= 1
        if isinstance(reply, Raw):
            return reply
        message = {"role": "assistant", "content": reply} if isinstance(reply, str) else reply
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return Raw(200, json.dumps(completion))


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for every request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is none."""


@contextmanager
def serve(respond: Callable[[dict[str, Any]], str | dict[str, Any] | Raw]) -> Iterator[ChatServer]:
    """A server that answers what `respond` makes of a request: a text, a message or a whole response."""
    chat = ChatServer(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            super().setup()
            with chat.lock:
                chat.connected += 1

        def finish(self) -> None:
            with chat.lock:
                chat.connected -= 1
            super().finish()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/v1/chat/completions":
                raw = chat.answer(body, {name.lower(): value for name, value in self.headers.items()})
            else:
                raw = Raw(404, '{"error": {"message": "no such path"}}')
            content = raw.body.encode()
            self.send_response(raw.status)
            self.send_header("content-type", raw.content_type)
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
