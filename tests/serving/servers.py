"""A real server on a free port of this machine, and what to send to it."""

import base64
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import soundfile
import uvicorn

from auricle.audio import SAMPLE_RATE
from auricle.models.mini.adapter import AuricleMini
from auricle.serving.app import create_app
from auricle.serving.local import LocalEngine
from auricle.serving.options import Options
from auricle.speech_lm import SpeechLM
from auricle.summarization.summarizer import UNTRAINED
from fakes import noise
from models import tiny_mini

QUESTION = "What is decided?"
ROOT = Path(__file__).parents[2]
KEY = "a key of the tests"


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    url: str
    lm: SpeechLM
    engine: LocalEngine
    store: Path
    openai: openai.OpenAI

    @property
    def http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=False)  # loads no certificates


def mini() -> AuricleMini:
    return AuricleMini(tiny_mini.model(), tiny_mini.processor(), "auricle-mini")


@contextmanager
def running(lm: SpeechLM, store: Path, **options: Any) -> Iterator[Running]:
    """Serves a model; at the end everything has stopped."""
    engine = LocalEngine(lm)
    app = create_app(engine, Options(store=store, **{"sst": UNTRAINED} | options))
    with (
        serving(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60) as client,
    ):
        yield Running(url, lm, engine, store, client)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
        assert not thread.is_alive(), "the server did not end"


def wait_for(true: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


@cache  # libsndfile writes the time into it
def wav(seconds: float = 3, seed: int = 0) -> bytes:
    return encoded(noise(seconds, seed))


def encoded(samples: np.ndarray, rate: int = SAMPLE_RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "FLOAT"} | kind)
    return file.getvalue()


def messages(audio: bytes | str, question: str = QUESTION, kind: str = "wav") -> list[dict[str, Any]]:
    """A question about the bytes of a recording, or about the hash of one."""
    given = {"recording": audio}
    if isinstance(audio, bytes):
        given = {"data": base64.b64encode(audio).decode(), "format": kind}
    parts = [{"type": "text", "text": question}, {"type": "input_audio", "input_audio": given}]
    return [{"role": "user", "content": parts}]


def body(audio: bytes | str, question: str = QUESTION, kind: str = "wav", **more: Any) -> dict[str, Any]:
    return {"model": "auricle-mini", "messages": messages(audio, question, kind), "max_tokens": 8} | more


def ask(server: Running, audio: bytes | str, question: str = QUESTION, **more: Any) -> httpx.Response:
    with server.http as http:
        return http.post("/v1/chat/completions", json=body(audio, question, **more))


@contextmanager
def leaving(server: Running, given: dict[str, Any]) -> Iterator[None]:
    """A client that has asked, and hangs up at the end of the block without an answer."""
    with httpx.Client(base_url=server.url, timeout=30, verify=False) as http:
        request = http.build_request("POST", "/v1/chat/completions", json=given)
        pool = ThreadPoolExecutor(1)
        future = pool.submit(http.send, request)
        yield
        http._transport._pool._connections[0]._connection._network_stream.get_extra_info("socket").shutdown(2)
    assert future.exception(20)
    pool.shutdown()


def upload(server: Running, audio: bytes, name: str = "one.wav") -> httpx.Response:
    with server.http as http:
        return http.post("/v1/recordings", files={"file": (name, audio, "audio/wav")})


def error(response: httpx.Response) -> tuple[int, str | None]:
    """Status and code, after a look at the form and at what must not be told."""
    said = response.json()["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert isinstance(said["message"], str)
    assert said["message"]
    for secret in ("Traceback", "/tmp", "/srv", str(ROOT), "site-packages", ".py"):
        assert secret not in response.text
    return response.status_code, said["code"]
