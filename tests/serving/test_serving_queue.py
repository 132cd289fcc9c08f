"""Who waits, who is refused, and who has left."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from auricle import audio
from auricle.errors import ModelError
from serving.servers import ask, body, error, leaving, running, upload, wait_for, wav
from tiny_llama import TinyLlama


@pytest.fixture
def lm():
    return TinyLlama()


@pytest.fixture
def server(lm, tmp_path):
    with running(lm, tmp_path / "store", max_queue=1) as started:
        yield started


@pytest.fixture
def held(lm, monkeypatch):
    """An event that every encoding waits for, and how many have begun."""
    go, begun, encode = threading.Event(), [], lm.encode

    def waiting(*arguments):
        begun.append(1)
        assert go.wait(20)
        return encode(*arguments)

    monkeypatch.setattr(lm, "encode", waiting)
    yield go, begun
    go.set()


def tiny(audio, **more):
    return body(audio, **more) | {"model": "tiny-llama"}


def waiting(server):
    with server.http as http:
        return http.get("/health").json()["waiting"]


def test_beyond_the_queue_it_is_full(server, held):
    go, begun = held
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, server, wav(1), model="tiny-llama")
        wait_for(lambda: begun)
        second = pool.submit(ask, server, wav(1, 1), model="tiny-llama")
        wait_for(lambda: waiting(server) == 1)
        kept = set(server.store.iterdir())
        for stream in (False, True):
            refused = ask(server, wav(1, 2), model="tiny-llama", stream=stream)
            assert error(refused) == (429, "queue_full")
            assert refused.headers["retry-after"] == "10"  # two of 5 s, as nobody was done yet
        assert error(upload(server, wav(1, 3)))[0] == 429
        assert set(server.store.iterdir()) == kept  # nothing that might push out what is others'
        go.set()
        assert first.result().status_code == second.result().status_code == 200
    assert waiting(server) == 0
    assert len(begun) == 2
    assert ask(server, wav(1, 2), model="tiny-llama").status_code == 200


def test_forms_that_wait_leave_room_for_more(lm, held, tmp_path):
    go, begun = held
    large = [wav(18, seed) for seed in range(5)]
    with (
        running(lm, tmp_path / "store", max_upload_bytes=len(large[0])) as server,
        ThreadPoolExecutor(5) as pool,
    ):
        sent = []
        for count, each in enumerate(large):
            sent.append(pool.submit(upload, server, each))
            wait_for(lambda: begun and waiting(server) == count)  # noqa: B023
        go.set()
        assert [each.result().status_code for each in sent] == [200] * 5


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_waiting_is_never_in_work(server, held, stream):
    go, begun = held
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, wav(1), model="tiny-llama")
        wait_for(lambda: begun)
        with leaving(server, tiny(wav(1, 1), stream=stream)):
            wait_for(lambda: waiting(server) == 1)
        wait_for(lambda: waiting(server) == 0)
        go.set()
        assert first.result().status_code == 200
    assert ask(server, wav(1, 2), model="tiny-llama").status_code == 200
    assert len(begun) == 2
    wait_for(lambda: not list(server.store.glob("*.lent")))


def test_who_leaves_while_it_is_decoded_frees_the_model(server, monkeypatch):
    begun = []

    def slow(*_):
        for _ in range(500):
            begun.append(1)
            time.sleep(0.01)
            yield np.zeros((16, 1), np.float32)

    with monkeypatch.context() as patched:
        patched.setattr(audio, "_blocks", slow)
        with leaving(server, tiny(wav(1))):
            wait_for(lambda: begun)
    assert ask(server, wav(1, 1), model="tiny-llama").status_code == 200
    assert len(begun) < 500


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_it_is_written_frees_the_model(server, lm, stream):
    steps, go = [], threading.Event()

    def step(*_):
        steps.append(1)
        assert len(steps) < 5 or go.wait(20)

    hook = lm.model.register_forward_pre_hook(step)
    with leaving(server, tiny(wav(1), max_tokens=3000, stream=stream)):
        wait_for(lambda: len(steps) == 5)
    wait_for(lambda: not server.engine._running)
    go.set()
    assert ask(server, wav(1), model="tiny-llama", max_tokens=2).status_code == 200
    hook.remove()
    assert len(steps) <= 5 + 1 + 2 + 1
    wait_for(lambda: not list(server.store.glob("*.lent")))


def test_a_stream_is_told_while_it_is_written(server, lm):
    steps, go = [], threading.Event()

    def step(*_):
        steps.append(1)
        assert len(steps) < 12 or go.wait(20)

    hook = lm.model.register_forward_pre_hook(step)
    given = tiny(wav(1), max_tokens=20, stream=True)
    with server.http as http, http.stream("POST", "/v1/chat/completions", json=given) as response:
        lines = (line for line in response.iter_lines() if line)
        assert "content" in next(lines)  # the model is not at its end
        go.set()
        assert list(lines)[-1] == "data: [DONE]"
    hook.remove()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_fails_harms_no_other(server, lm, monkeypatch, stream, caplog):
    monkeypatch.setattr(lm, "prompt", lambda *_: 1 / 0)
    assert error(ask(server, wav(1), model="tiny-llama", stream=stream)) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.setattr(lm, "prompt", lambda *_: (_ for _ in ()).throw(ModelError("at /srv/secret")))
    assert error(ask(server, wav(1), model="tiny-llama", stream=stream)) == (500, "model_error")
    monkeypatch.setattr(lm, "prompt", lambda *_: (_ for _ in ()).throw(MemoryError))
    assert error(ask(server, wav(1), model="tiny-llama", stream=stream)) == (503, "out_of_memory")
    monkeypatch.undo()
    assert ask(server, wav(1), model="tiny-llama", stream=stream).status_code == 200


def test_a_stream_that_fails_on_its_way_says_so(server, lm):
    steps = []

    def step(*_):
        steps.append(1)
        if len(steps) == 12:
            raise RuntimeError("on its way")

    hook = lm.model.register_forward_pre_hook(step)
    response = ask(server, wav(1), model="tiny-llama", max_tokens=20, stream=True)
    hook.remove()
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line]
    assert events[-1]["error"]["code"] == "internal_error"
    assert "on its way" not in response.text
    assert ask(server, wav(1), model="tiny-llama").status_code == 200


def test_many_at_a_time_are_all_answered_rightly(lm, tmp_path):
    with running(lm, tmp_path / "store", max_queue=20) as server:
        alone = [ask(server, wav(1, seed % 3), model="tiny-llama").json()["choices"] for seed in range(12)]
        with ThreadPoolExecutor(12) as pool:
            given = [
                pool.submit(ask, server, wav(1, seed % 3), model="tiny-llama", stream=False) for seed in range(12)
            ]
            assert [each.result().json()["choices"] for each in given] == alone


def test_closing_stops_what_runs(lm, tmp_path):
    steps = []
    hook = lm.model.register_forward_pre_hook(lambda *_: steps.append(1))
    with ThreadPoolExecutor(1) as pool, running(lm, tmp_path / "store") as server:
        given = tiny(wav(1), max_tokens=3900, stream=True)
        asked = pool.submit(httpx.post, f"{server.url}/v1/chat/completions", json=given, timeout=60)
        wait_for(lambda: len(steps) > 3)
        server.engine.close()
        assert "[DONE]" not in asked.result().text
        assert '"stopped"' in asked.result().text
        assert error(ask(server, wav(1), model="tiny-llama")) == (503, "stopped")
    hook.remove()
    assert len(steps) < 3900
