"""The key, and everything that is too much."""

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from auricle.errors import OptionError
from auricle.serving.gate import Gate
from auricle.serving.metrics import Metrics
from auricle.serving.options import Options
from serving.servers import KEY, QUESTION, ask, body, encoded, error, noise, running, upload, wait_for, wav
from tiny_llama import TinyLlama

LIMITS = {"max_upload_bytes": 200_000, "max_seconds": 4.0, "max_question": 50, "max_new_tokens": 20, "api_key": KEY}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(TinyLlama(), tmp_path_factory.mktemp("limits") / "store", **LIMITS) as started:
        yield started


def tiny(server, audio, question=QUESTION, **more):
    return ask(server, audio, question, model="tiny-llama", **more)


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"bearer {KEY}x", KEY, "Bearer \u00e9"])
def test_who_has_no_key_is_told_so(server, given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    with httpx.Client(base_url=server.url, headers=headers, verify=False) as http:
        for path in ("/v1/models", "/v1/pruners", "/metrics", "/v1/nothing", f"/v1/recordings/{'0' * 64}/audio"):
            assert error(http.get(path)) == (401, "invalid_api_key")
        assert error(http.post("/v1/chat/completions", content=b"[")) == (401, "invalid_api_key")
        assert http.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("host", "known"),
    [
        *(("evil.example", False), ("evil.example:8000", False), ("localhost.evil.example", False), ("*", False)),
        *(("127.0.0.1.evil.example", False), ("1.2.3", False), ("[::1].evil.example", False), ("", True)),
        *(("localhost", True), ("LocalHost.:8000", True), ("127.0.0.1:1", True), ("[::1]:8000", True)),
        *(("0.0.0.0", True), ("192.168.1.7:8000", True)),
    ],
)
def test_who_calls_it_by_a_name_of_their_own_is_kept_out(server, host, known):
    with server.http as http:
        for path in ("/v1/models", "/health", "/"):
            response = http.get(path, headers={"Host": host})
            assert known or error(response) == (400, "unknown_host")
            assert response.status_code in (200, 404) or not known
        asked = http.post(
            "/v1/chat/completions", json=body(wav(1)) | {"model": "tiny-llama"}, headers={"Host": host}
        )
    assert asked.status_code == (200 if known else 400)


def test_other_names_can_be_allowed(tmp_path):
    for hosts, expected in ((("a.example",), (200, 400)), (("*",), (200, 200))):
        with running(TinyLlama(), tmp_path / "store", hosts=hosts) as named, named.http as http:
            found = [
                http.get("/health", headers={"Host": host}).status_code for host in ("A.example:1", "b.example")
            ]
            assert tuple(found) == expected


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory):
    with running(TinyLlama(), tmp_path_factory.mktemp("open") / "store", hosts=("localhost", "ask.lan")) as started:
        yield started


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        *(({}, True), ({"Origin": "HOST"}, True), ({"Origin": "HOST", "Sec-Fetch-Site": "same-origin"}, True)),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://ask.lan"}, True),  # of a proxy that asks by another Host
        ({"Origin": "https://behind.a.proxy", "Sec-Fetch-Site": "same-origin"}, True),  # so says the browser
        *(({"Origin": "null"}, False), ({"Origin": ""}, False), ({"Origin": "https://evil.example"}, False)),
        *(({"Origin": "http://127.0.0.1:1"}, False), ({"Origin": "http://127.0.0.1"}, False)),
        ({"Origin": "http://ask.lan:81"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "HOST", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://ask.lan", "Sec-Fetch-Site": "same-site"}, False),
        *(({"Sec-Fetch-Site": "same-site"}, False), ({"Sec-Fetch-Site": "cross-site"}, False)),
        ({"Sec-Fetch-Site": "new"}, False),
    ],
    ids=str,
)
def test_pages_of_others_have_nothing_worked_for(unlocked, headers, own):
    headers = {name: value.replace("HOST", unlocked.url) for name, value in headers.items()}
    with unlocked.http as http:
        forms = [
            http.post("/v1/recordings", files={"file": ("a.wav", b"none", "audio/wav")}, headers=headers),
            http.post("/v1/audio/transcriptions", files={"file": ("a.wav", b"none")}, headers=headers),
        ]
        forms.append(http.post("/v1/similarity", json={}, headers=headers))
        forms.append(http.post("/v1/chat/completions", json={}, headers=headers))
        for response in forms:
            status, code = error(response)
            assert (status == 400) if own else (status, code) == (403, "cross_origin")
            assert own or response.headers["connection"] == "close"
        for path in ("/v1/models", "/health", "/"):
            assert http.get(path, headers=headers).status_code == 200


def test_a_key_is_known_to_no_other_page(server):
    with server.http as http:
        given = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert error(http.post("/v1/similarity", json={}, headers=given))[0] == 400
        wrong = given | {"Authorization": "Bearer wrong"}
        assert error(http.post("/v1/similarity", json={}, headers=wrong)) == (401, "invalid_api_key")


def test_who_has_it_is_let_in(server):
    assert tiny(server, wav(1)).status_code == 200
    assert [each.id for each in server.openai.models.list()] == ["tiny-llama"]
    with server.http as http:
        assert "auricle_requests_total" in http.get("/metrics").text


def test_too_long_a_recording_is_refused(server):
    long = encoded(noise(5), subtype="PCM_16")
    assert error(tiny(server, long)) == (413, "recording_too_long")
    assert error(tiny(server, long, stream=True)) == (413, "recording_too_long")
    assert error(upload(server, long)) == (413, "recording_too_long")
    bomb = encoded(noise(1)[:1].repeat(16000 * 3600), format="FLAC", subtype="PCM_16")
    assert len(bomb) < 200_000
    assert error(upload(server, bomb)) == (413, "recording_too_long")


def test_too_large_an_upload_is_refused(server):
    large = wav(3.5)
    assert len(large) > 200_000
    for response in (tiny(server, large), upload(server, large)):
        assert error(response) == (413, "upload_too_large")


def test_a_body_is_refused_by_its_header_before_it_is_read(server):
    host, port = server.url.removeprefix("http://").split(":")
    for path, length in (
        ("/v1/recordings", 1_300_000),
        ("/v1/similarity", 1_000_001),
        ("/v1/chat/completions", 10**9),
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def gated(pieces, app, patience=1.0):
    """What a client is answered whose body comes in pieces: each so many seconds after the one before."""
    sent, left = [], list(pieces)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        seconds, body, more = left.pop(0)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message):
        sent.append(message)

    options = Options(store=Path("none"), max_idle_seconds=patience)
    gate = Gate(app, options, lambda _: 1000, Metrics(lambda: 0, lambda: 0))
    scope = {"type": "http", "method": "POST", "path": "/v1/similarity", "headers": []}
    asyncio.run(gate(scope, receive, send))
    head, body = sent
    return httpx.Response(head["status"], headers=head["headers"], content=body["body"])


async def reads(scope, receive, send):
    """An app that answers with the length of the body, after another wait for its client to leave."""
    whole = b"".join([chunk async for chunk in Request(scope, receive).stream()])
    with suppress(TimeoutError):
        await asyncio.wait_for(receive(), 0.3)
        raise AssertionError
    await JSONResponse(len(whole))(scope, receive, send)


def test_a_body_that_stops_coming_is_given_up():
    for pieces in ([], [(0, b"one", True)], [(0, b"one", True), (9, b"late", False)]):
        begun = time.monotonic()
        response = gated(pieces, reads)
        assert error(response) == (408, "timeout")
        assert response.headers["connection"] == "close"
        assert 1 <= time.monotonic() - begun < 5


def test_a_slow_body_is_waited_for_and_so_is_an_answer(monkeypatch):
    waited, wait_for = [], asyncio.wait_for

    async def told(awaited, timeout):
        waited.append(timeout)
        return await wait_for(awaited, timeout)

    monkeypatch.setattr(asyncio, "wait_for", told)
    response = gated([(0.4, b"x", True)] * 3 + [(0.4, b"y", False)], reads)
    assert (response.status_code, response.text) == (200, "4")  # after more than a second
    assert waited == [1.0] * 4 + [0.3, None]


def test_a_connection_that_sends_no_more_is_closed(tmp_path):
    with running(TinyLlama(), tmp_path / "store", max_idle_seconds=1.0) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for kind in ("application/json", "multipart/form-data; boundary=y"):
            path = "/v1/recordings" if kind.startswith("multi") else "/v1/chat/completions"
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                connection.sendall(f"{head}Content-Length: 100\r\n\r\n--y".encode())
                with connection.makefile("rb") as answer:
                    assert answer.readline().startswith(b"HTTP/1.1 408")
                    assert b'"timeout"' in answer.read()  # to the end of the connection


@pytest.mark.parametrize("path", ["/v1/recordings", "/v1/chat/completions", "/v1/similarity"])
def test_a_body_without_a_length_is_counted(server, path):
    sent = []

    def endless():
        yield b'--y\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(10_000):
            sent.append(1)
            yield b"x" * 10_000

    kind = "multipart/form-data; boundary=y" if path == "/v1/recordings" else "application/json"
    with server.http as http:
        try:
            response = http.post(path, content=endless(), headers={"Content-Type": kind})
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            pass  # the server has hung up
        else:
            assert response.status_code in (400, 413)
        assert http.get("/health").status_code == 200
    assert len(sent) < 10_000


FORM = b'--y\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


@pytest.mark.parametrize(
    ("path", "kind", "begin"),
    [
        ("/v1/chat/completions", "application/json", b""),
        ("/v1/recordings", "multipart/form-data; boundary=y", FORM),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=y", FORM),
    ],
    ids=("chat", "recordings", "transcriptions"),
)
def test_too_many_large_bodies_at_a_time_are_refused_and_small_ones_are_not(server, path, kind, begin):
    host, port = server.url.removeprefix("http://").split(":")
    open_ones = []
    for _ in range(3):  # each of nearly the largest size, and not at its end
        connection = socket.create_connection((host, int(port)), timeout=10)
        open_ones.append(connection)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        about = f"Content-Type: {kind}\r\nContent-Length: 1200000\r\n\r\n"
        connection.sendall((head + about).encode() + begin.ljust(1_100_000))
    assert any(_refused(each) for each in reversed(open_ones))
    assert tiny(server, wav(1)).status_code == 200
    assert upload(server, wav(1)).status_code == 200
    for each in open_ones:
        each.close()
    wait_for(lambda: _all_read(server))


def _all_read(server):
    """Whether a large body has room again: it is no JSON, and that is what is said."""
    kind = {"Content-Type": "application/json"}
    with server.http as http:
        return http.post("/v1/chat/completions", content=b" " * 1_200_000, headers=kind).status_code == 400


def _refused(connection):
    connection.settimeout(1)
    try:
        return connection.recv(100).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False


def test_long_questions_and_answers_are_refused(server):
    assert error(tiny(server, wav(1), "x" * 51)) == (400, "question_too_long")
    assert error(tiny(server, wav(1), choices=["x" * 51, "y"])) == (400, "question_too_long")
    assert error(tiny(server, wav(1), choices=["x" * 26, "y" * 25])) == (400, "question_too_long")
    assert error(tiny(server, wav(1), max_tokens=21))[0] == 400
    assert error(tiny(server, wav(1), max_completion_tokens=21))[0] == 400
    recording = upload(server, wav(1)).json()["recording"]
    with server.http as http:
        given = {"recording": recording, "question": "x" * 51}
        assert error(http.post("/v1/similarity", json=given)) == (400, "question_too_long")


def test_what_is_not_json_is_refused(server):
    given = {"Content-Type": "application/json"}
    with server.http as http:
        for content in (b"", b"[", b"\xff\xfe", b"null", b"[" * 100_000, b'{"model": "\\ud800"}'):
            assert error(http.post("/v1/chat/completions", content=content, headers=given))[0] == 400
            assert error(http.post("/v1/similarity", content=content, headers=given))[0] == 400
        text = http.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
        assert error(text)[0] == 415
        odd = http.post(
            "/v1/chat/completions",
            content=b'{"model": "tiny-llama", "messages": [{"role": "user", "content": "\\ud800"}]}',
            headers=given,
        )
        assert error(odd)[0] == 400


def test_other_ways_and_methods_are_errors_of_the_same_form(server):
    with server.http as http:
        assert error(http.get("/v1/nothing"))[0] == 404
        assert error(http.get("/v1/chat/completions"))[0] == 405
        assert error(http.get("/v1/recordings/../../etc/passwd"))[0] == 404
        assert error(http.get("/v1/recordings/%2e%2e%2fetc/audio"))[0] in (400, 404)
        assert error(http.get(f"/v1/recordings/{'0' * 64}%0a/audio"))[0] in (400, 404)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("given", "status"),
    [("bytes=99999999-", 416), ("bytes=5-2", 400), ("lines=1-2", 400), ("bytes", 400), ("bytes=", 400)],
)
def test_a_range_that_is_none_is_an_error_of_the_same_form(server, method, given, status):
    recording = upload(server, wav(1)).json()["recording"]
    with server.http as http:
        for path in (f"/v1/recordings/{recording}/audio", "/app.js"):
            response = http.request(method, path, headers={"Range": given})
            assert response.status_code == status
            assert response.headers["content-type"] == "application/json"
            assert response.headers["content-security-policy"]
            assert method == "HEAD" or error(response) == (status, "invalid_range")
            assert (status == 416) == response.headers.get("content-range", "").startswith("bytes */")
        assert http.get(path, headers={"Range": "bytes=0-1"}).status_code == 206
    wait_for(lambda: not list(server.store.glob("*.lent")))


def test_browsers_are_told_to_be_careful(server, tmp_path):
    with server.http as http:
        for path in ("/health", "/v1/nothing", "/v1/models"):
            headers = http.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'self'; ")
            assert headers["x-content-type-options"] == "nosniff"
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<h1>auricle</h1>")
    with running(TinyLlama(), tmp_path / "store", page=tmp_path / "page", api_key=KEY) as paged:
        page = httpx.get(paged.url)
        assert page.text == "<h1>auricle</h1>"
        assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert httpx.get(f"{paged.url}/..%2f..%2fstore").status_code == 404


def test_what_happens_is_counted(tmp_path):
    with running(TinyLlama(), tmp_path / "store") as server:
        for _ in range(2):
            tiny(server, wav(1))
        tiny(server, b"nothing")
        with server.http as http:
            http.get("/some/where")
            lines = http.get("/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(found['auricle_requests_total{endpoint="/v1/chat/completions",status="200"}']) == 2
    assert float(found['auricle_requests_total{endpoint="/v1/chat/completions",status="400"}']) == 1
    assert float(found['auricle_requests_total{endpoint="other",status="404"}']) == 1
    assert float(found['auricle_cache_total{kind="tokens",result="hit"}']) == 1
    assert float(found['auricle_cache_total{kind="tokens",result="miss"}']) == 1
    assert float(found['auricle_step_seconds_count{step="prefill"}']) == 2
    assert float(found["auricle_queue_length"]) == 0
    assert float(found["auricle_cache_bytes"]) > 64_000


@pytest.mark.parametrize(
    "wrong",
    [{"store_bytes": 0}, {"max_queue": -1}, {"max_seconds": 0.0}, {"api_key": " "}, {"max_upload_bytes": 0}],
)
def test_options_are_checked(tmp_path, wrong):
    with pytest.raises(OptionError):
        Options(store=tmp_path, **wrong)


def test_a_folder_of_a_model_is_not_told(tmp_path):
    lm = TinyLlama()
    lm._name = str(tmp_path / "my-model")
    with running(lm, tmp_path / "store") as server:
        assert [each.id for each in server.openai.models.list()] == ["my-model"]
        refused = ask(server, wav(1), model="my-model", max_tokens=4096)
        assert error(refused) == (400, "context_length_exceeded")
        assert "my-model reads at most" in refused.text
        response = ask(server, wav(1), model="my-model", choices=["a", "b"])
        assert str(tmp_path) not in response.text
        assert body(wav(1))["model"] not in response.text
