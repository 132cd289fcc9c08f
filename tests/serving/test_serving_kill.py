"""A server that is killed, and one that is told to end."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from auricle.serving.store import Store
from serving.servers import ask, body, running, upload, wait_for, wav
from tiny_llama import TinyLlama

TESTS = Path(__file__).parents[1]


@contextmanager
def process(store):
    """A server in another process; its end is up to the block."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(TESTS / "serving" / "tiny_server.py"), str(store)]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            port = int(started.stdout.readline())
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: _answers(url), 60)
            yield started, url
        finally:
            started.kill()


def _answers(url):
    try:
        return httpx.get(f"{url}/health", verify=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_was_kept_before_a_kill_is_there_and_nothing_half(tmp_path):
    given = {"file": ("a.wav", wav(2), "audio/wav")}
    with process(tmp_path) as (started, url):
        recording = httpx.post(f"{url}/v1/recordings", files=given, timeout=60).json()["recording"]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:  # killed in the middle of an upload
            head = (
                "POST /v1/recordings HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: multipart/form-data; boundary=y\r\n"
                "Content-Length: 5000000\r\n\r\n--y\r\n"
                'Content-Disposition: form-data; name="file"; filename="b.wav"\r\n\r\n'
            )
            connection.sendall(head.encode() + wav(4)[:200_000] + b"\0" * 1_500_000)
            started.send_signal(signal.SIGKILL)
            assert started.wait(10) == -signal.SIGKILL
    with running(TinyLlama(), tmp_path) as server:
        said = ask(server, recording, model="tiny-llama").json()
        assert said["auricle"]["cached"] is True
        assert ask(server, wav(4), model="tiny-llama").json()["auricle"]["cached"] is False
        assert upload(server, wav(2)).json()["recording"] == recording


def test_a_kill_while_a_file_is_written_leaves_none(tmp_path):
    """At every place where it may happen: nothing written, half, all, all but the last name."""
    key = "0" * 64 + ".audio"

    def written(folder, until):
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            return
        store = Store(folder, 1000)  # the child: dies without a chance to clean up
        replace = Path.replace

        def dying(self, target):
            if until == "named" or (until == "whole" and not str(target).endswith(".new")):
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(self, target)

        def write(path):
            path.write_bytes(b"12345"[: 2 if until == "half" else 5])
            if until == "half":
                os.kill(os.getpid(), signal.SIGKILL)

        Path.replace = dying
        store.put(key, write)
        os._exit(1)

    for until in ("half", "named", "whole"):
        folder = tmp_path / until
        written(folder, until)
        assert len(list(folder.iterdir())) > 1, until  # something was left
        again = Store(folder, 1000)
        assert not again.has(key)
        assert again.nbytes == 0
        assert [path.name for path in folder.iterdir()] == [".lock"]
        again.close()


def test_a_server_that_is_told_to_end_stops_what_runs_and_ends(tmp_path):
    given = body(wav(2), max_tokens=3900, stream=True) | {"model": "tiny-llama"}
    with (
        process(tmp_path) as (started, url),
        httpx.stream("POST", f"{url}/v1/chat/completions", json=given, timeout=60) as response,
    ):
        lines = (line for line in response.iter_lines() if line)
        assert next(lines).startswith("data: ")
        started.send_signal(signal.SIGTERM)
        with suppress(httpx.RemoteProtocolError):  # cut off
            assert "data: [DONE]" not in list(lines)
        assert started.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in started.stderr.read()
    assert not list(tmp_path.glob("*.lent"))
    Store(tmp_path, 10**9).close()  # it has let go of it
