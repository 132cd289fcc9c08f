"""A disk that is really full, servers that are killed, a model that fails, an end while many wait."""

import hashlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from serving.servers import ask, body, error, running, upload, wait_for, wav
from serving.test_serving_kill import process
from tiny_llama import TinyLlama


@pytest.fixture
def lm():
    return TinyLlama()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def whole(folder):
    """Whether every file of a store is what its name says, and nothing is left over."""
    for path in folder.iterdir():
        if path.name not in (".lock", "ballast"):
            assert path.suffix not in (".new", ".lent", ".part"), path.name
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.rpartition(".")[2], path.name
    return True


def test_a_full_disk_refuses_uploads_answers_questions_and_recovers(lm, small_disk):
    with running(lm, small_disk) as server:
        first = upload(server, wav(1))
        assert first.status_code == 200
        answer = ask(server, wav(2, 1), model="tiny-llama").json()["choices"]
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 1000)
        for seed in range(3):
            assert error(upload(server, wav(2, 5 + seed))) == (507, "insufficient_storage")
            told = ask(server, wav(2, 5 + seed), model="tiny-llama")
            assert told.status_code == 200, told.text
            assert told.json()["auricle"]["cached"] is False
            assert whole(small_disk)
        remembered = ask(server, wav(2, 9), model="tiny-llama", compression_ratio=4)
        assert remembered.status_code == 200, remembered.text
        kept = ask(server, first.json()["recording"], model="tiny-llama")
        assert kept.status_code == 200
        with server.http as http:
            metrics = http.get("/metrics").text
        assert "auricle_cache_write_failures_total 0.0" not in metrics
        ballast.unlink()
        assert upload(server, wav(2, 5)).status_code == 200
        assert ask(server, wav(2, 1), model="tiny-llama").json()["choices"] == answer
        assert whole(small_disk)


def test_what_is_served_after_kills_in_the_middle_of_uploads_is_whole(lm, tmp_path):
    """Each server is killed at another moment while several recordings come in."""
    given = {hashlib.sha256(wav(1, seed)).hexdigest(): wav(1, seed) for seed in range(8)}
    served, store = set(), tmp_path / "store"
    for moment in (0.05, 0.2, 0.4):
        with process(store) as (started, url), ThreadPoolExecutor(4) as pool:
            for sound in given.values():
                pool.submit(httpx.post, f"{url}/v1/recordings", files={"file": ("a.wav", sound)}, timeout=30)
            time.sleep(moment)
            os.kill(started.pid, signal.SIGKILL)
            started.wait(10)
    with running(lm, tmp_path / "clean") as clean, running(lm, store) as server:
        assert whole(store)
        for recording, sound in given.items():
            known = ask(server, recording, model="tiny-llama")
            if known.status_code == 200:
                served.add(recording)
                assert known.json()["choices"] == ask(clean, sound, model="tiny-llama").json()["choices"]
                assert upload(server, sound).json()["recording"] == recording
            else:
                assert error(known) == (404, "recording_not_found")
    assert served, "no recording survived; the kills came too early"


@pytest.mark.parametrize("step", ["encode", "prompt", "generate"])
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RuntimeError("in /srv/secret"), (500, "internal_error")),
        (MemoryError(), (503, "out_of_memory")),
        (RecursionError(), (500, "internal_error")),
    ],
    ids=["runtime", "memory", "recursion"],
)
def test_after_a_failure_of_the_model_the_next_request_works(lm, tmp_path, monkeypatch, step, failure, expected):
    def fail(*_, **__):
        raise failure

    with running(lm, tmp_path / "store") as server:
        with monkeypatch.context() as broken:
            broken.setattr(lm, step, fail)
            for stream in (False, True):
                assert error(ask(server, wav(1), model="tiny-llama", stream=stream)) == expected
        assert ask(server, wav(1), model="tiny-llama").status_code == 200
        with server.http as http:
            assert http.get("/health").json()["waiting"] == 0
        assert not list(server.store.glob("*.lent"))


def test_an_end_while_ten_wait_answers_or_cuts_off_each_and_ends(tmp_path):
    given = body(wav(1), max_tokens=3900) | {"model": "tiny-llama"}
    statuses, lock = [], threading.Lock()

    def one(url):
        try:
            found = httpx.post(f"{url}/v1/chat/completions", json=given, timeout=60).status_code
        except httpx.HTTPError:
            found = "cut off"
        with lock:
            statuses.append(found)

    with process(tmp_path) as (started, url), ThreadPoolExecutor(10) as pool:
        for _ in range(10):
            pool.submit(one, url)
        wait_for(lambda: httpx.get(f"{url}/health").json()["waiting"] >= 9)
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in started.stderr.read()
    assert len(statuses) == 10
    assert set(statuses) <= {200, 503, "cut off"}
    assert whole(tmp_path)
