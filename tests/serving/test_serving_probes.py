"""What somebody sends who means harm: refused, quickly, in the form of every error."""

import socket
import time

import pytest

from auricle.audio import SAMPLE_RATE
from serving.servers import QUESTION, ask, body, encoded, error, noise, running, upload, wait_for, wav
from tiny_llama import TinyLlama

HASH = "0" * 64
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(TinyLlama(), tmp_path_factory.mktemp("probes") / "store", max_seconds=60.0) as started:
        yield started


def tiny(server, audio, question=QUESTION, **more):
    return ask(server, audio, question, model="tiny-llama", **more)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "C:\\x.wav", "a\0.wav", "a\r\nX: y", "<b>"],
)
def test_the_name_of_a_file_is_of_no_account(server, name):
    before = sorted(server.store.parent.rglob("*"))
    response = upload(server, wav(1), name)
    assert response.status_code == 200
    assert "passwd" not in response.text
    assert {path.parent for path in server.store.parent.rglob("*")} <= {server.store.parent, server.store}
    assert len(sorted(server.store.parent.rglob("*"))) - len(before) in (0, 2)  # the recording and its tokens


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", f"{HASH}%00", f"{HASH[1:]}%00", "%ff" * 64],
)
def test_a_hash_is_no_path(server, path):
    with server.http as http:
        assert error(http.get(f"/v1/recordings/{path}/audio"))[0] in (400, 404)


@pytest.mark.parametrize("recording", ["../../etc/passwd", f"{HASH}\n", f"{HASH[1:]}\0", "\u0660" * 64, "A" * 64])
def test_only_a_hash_is_a_hash(server, recording):
    assert error(tiny(server, recording)) == (400, "invalid_request")
    with server.http as http:
        given = {"recording": recording, "question": QUESTION}
        assert error(http.post("/v1/similarity", json=given)) == (400, "invalid_request")


@pytest.mark.parametrize("says", [True, False], ids=["says its length", "does not"])
def test_hours_of_silence_in_a_small_file_are_not_decoded(server, says):
    silent = bytearray(encoded(noise(1)[:1].repeat(SAMPLE_RATE * 3600), format="FLAC", subtype="PCM_16"))
    if not says:
        silent[21] &= 0xF0  # of the samples' number, 36 bits in the stream's first block; 0 is unknown
        silent[22:26] = bytes(4)
    start = time.monotonic()
    assert error(upload(server, bytes(silent))) == (413, "recording_too_long")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "deep", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000], ids=["[", "{"]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/similarity"])
def test_deep_json_is_refused(server, deep, path):
    with server.http as http:
        for content in (
            deep,
            f'{{"model": "tiny-llama", "recording": "{HASH}", "question": "?", "tools": {deep}}}',
        ):
            assert error(http.post(path, content=content, headers=JSON))[0] == 400


@pytest.mark.parametrize("number", ["9" * 100_000, "1e999", "NaN", "-Infinity"])
@pytest.mark.parametrize(
    "field", ["seed", "max_tokens", "temperature", "top_p", "pruning_rate", "compression_ratio"]
)
def test_numbers_beyond_all_bounds_are_refused(server, field, number):
    content = f'{{"model": "tiny-llama", "messages": [], "pruner": "full", "{field}": {number}}}'
    with server.http as http:
        assert error(http.post("/v1/chat/completions", content=content, headers=JSON)) == (400, "invalid_request")


def test_markup_is_text(server):
    markup = "<script>alert(1)</script>"
    for response in (tiny(server, wav(1), markup), tiny(server, wav(1), pruner=markup)):
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_too_many_choices_are_refused(server):
    assert error(tiny(server, wav(1), choices=[str(each) for each in range(1000)])) == (400, "invalid_question")
    long = [f"{each} " + "x " * 1900 for each in range(26)]  # all of them would be scored: minutes and gigabytes
    assert error(tiny(server, wav(1), choices=long)) == (400, "question_too_long")


@pytest.mark.parametrize(
    "url", ["data:audio/wav;base64,UklGRg==", "file:///etc/passwd", "http://127.0.0.1:1/a.wav"]
)
def test_no_url_is_followed(server, url):
    given = body(wav(1)) | {"model": "tiny-llama"}
    given["messages"][0]["content"][1]["input_audio"]["data"] = url
    with server.http as http:
        assert error(http.post("/v1/chat/completions", json=given)) == (400, "invalid_base64")


def test_a_long_header_does_no_harm(server):
    with server.http as http:
        assert http.get("/health", headers={"X-Long": "y" * 65_536}).status_code in (200, 400, 431)
        ranges = ",".join("0-" for _ in range(15_000))
        recording = upload(server, wav(1)).json()["recording"]
        part = http.get(f"/v1/recordings/{recording}/audio", headers={"Range": f"bytes={ranges}"})
    assert len(part.content) < 100_000


def test_who_leaves_while_sending_is_no_error_of_the_server(server, caplog):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    counted = 'auricle_requests_total{endpoint="/v1/chat/completions",status="499"} 1.0'
    with server.http as http:
        wait_for(lambda: counted in http.get("/metrics").text)
    assert not caplog.records
