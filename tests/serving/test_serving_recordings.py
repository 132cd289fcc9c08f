"""Uploads, what is kept of them, and what is made of them for the page."""

import errno
import io
import threading

import numpy as np
import pytest
import soundfile
from starlette.datastructures import UploadFile

from auricle import transcribing
from auricle.asking import encode
from auricle.pruning.similarity import relevance
from auricle.serving import recordings as module
from auricle.serving import sound, store
from auricle.serving.metrics import Metrics
from auricle.serving.options import Options
from auricle.serving.store import Store
from serving.servers import QUESTION, ask, error, noise, running, upload, wait_for, wav
from tiny_llama import TinyLlama


@pytest.fixture(scope="module")
def lm():
    """Quicker than auricle-mini, under its name."""
    built = TinyLlama()
    built._name = "auricle-mini"
    return built


def kinds(server):
    return sorted(path.name.split(".")[1].partition("-")[0] for path in server.store.glob("[0-9a-f]*.*"))


def damage(server, kind):
    (path,) = server.store.glob(f"*.{kind}*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    return path


def test_an_upload_is_described(server, lm, tmp_path):
    said = upload(server, wav(40)).json()
    tokens = encode(lm, noise(40), 16000).tokens
    assert (said["duration"], said["tokens"], said["cached"]) == (40.0, len(tokens), False)
    assert np.allclose(said["peaks"], sound.peaks(noise(40)))
    again = upload(server, wav(40), "another name").json()
    assert again | {"cached": False, "seconds": 0} == said | {"seconds": 0}
    assert again["cached"] is True
    with server.http as http:
        whole = http.get(f"/v1/recordings/{said['recording']}/audio")
        part = http.get(f"/v1/recordings/{said['recording']}/audio", headers={"Range": "bytes=100-199"})
        head = http.head(f"/v1/recordings/{said['recording']}/audio")
    samples, rate = soundfile.read(io.BytesIO(whole.content), dtype="float32")
    assert (rate, len(samples)) == (16000, 40 * 16000)
    assert np.abs(samples - noise(40)).max() < 1e-4
    assert (whole.headers["content-type"], part.status_code) == ("audio/wav", 206)
    assert part.content == whole.content[100:200]
    assert part.headers["etag"] == whole.headers["etag"] == head.headers["etag"]
    wait_for(lambda: not list(server.store.glob("*.lent")))


def test_similarity_is_that_of_the_pruner(server, lm):
    recording = upload(server, wav(3)).json()["recording"]
    tokens = encode(lm, noise(3), 16000).tokens
    with server.http as http:
        said = http.post("/v1/similarity", json={"recording": recording, "question": QUESTION}).json()
        assert np.allclose(said["relevance"], relevance(tokens.embeds, lm.query(QUESTION).embeds), atol=1e-5)
        assert np.allclose(said["times"], tokens.times)
        refused = http.post("/v1/similarity", json={"recording": "0" * 64, "question": QUESTION})
        assert error(refused) == (404, "recording_not_found")
        refused = http.post("/v1/similarity", json={"recording": recording, "question": ""})
        assert error(refused) == (400, "invalid_question")


def test_a_transcript_is_that_of_the_library(server, lm):
    expected = transcribing.transcribe(lm, encode(lm, noise(2), 16000)).text
    create = server.openai.audio.transcriptions.create
    assert create(file=("a.wav", wav(2)), model="auricle-mini").text == expected
    assert create(file=("a.wav", wav(2)), model="auricle-mini", response_format="text").strip() == expected.strip()
    with server.http as http:
        post = lambda **data: http.post("/v1/audio/transcriptions", data=data, files={"file": wav(1)})  # noqa: E731
        assert error(post(model="whisper-1")) == (404, "model_not_found")
        assert error(post())[0] == 400
        assert error(post(model="auricle-mini", response_format="srt"))[0] == 400


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\x.wav", "a\x00b.wav", "", "<img src=x>.wav", "x" * 1000]
)
def test_a_name_is_only_a_name(server, name):
    response = upload(server, wav(1), name or "a")
    assert response.status_code == 200
    assert kinds(server) == ["audio", "tokens"]
    assert {path.parent for path in server.store.rglob("*")} == {server.store}


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b"", "audio/wav", (400, "invalid_audio_format")),
        (b"<html></html>", "audio/wav", (400, "invalid_audio_format")),
        (b"#EXTM3U\nhttp://127.0.0.1/", "audio/x-mpegurl", (400, "invalid_audio_format")),
        (wav(1), "text/html", (415, "invalid_audio_format")),
        (wav(1)[:500], "audio/wav", (400, "invalid_audio")),
        (wav(0.05), "audio/wav", (400, "invalid_audio")),
    ],
)
def test_what_is_no_recording_is_refused(server, data, kind, expected):
    with server.http as http:
        assert error(http.post("/v1/recordings", files={"file": ("a.wav", data, kind)})) == expected
        assert error(http.post("/v1/recordings", json={}))[0] == 400
        assert http.get("/health").json()["status"] == "ok"


def test_damaged_tokens_are_encoded_again(server, encodes):
    recording = upload(server, wav(2)).json()["recording"]
    expected = ask(server, recording).json()["choices"]
    damage(server, "tokens")
    said = ask(server, recording).json()
    assert (said["choices"], said["auricle"]["cached"]) == (expected, False)
    assert ask(server, recording).json()["auricle"]["cached"] is True
    assert len(encodes) == 2


def test_a_damaged_memory_is_made_again(server, encodes):
    said = ask(server, wav(2), compression_ratio=4).json()
    damage(server, "memory")
    again = ask(server, wav(2), compression_ratio=4).json()
    assert (again["choices"], again["auricle"]["cached"]) == (said["choices"], False)
    assert len(encodes) == 1  # its tokens were whole


def test_a_damaged_recording_is_asked_for_again(server, encodes):
    recording = upload(server, wav(2)).json()["recording"]
    damage(server, "audio")
    with server.http as http:
        assert error(http.get(f"/v1/recordings/{recording}/audio")) == (404, "recording_not_found")
    assert ask(server, recording).status_code == 200  # the tokens are there
    damage(server, "tokens")
    assert error(ask(server, recording)) == (404, "recording_not_found")
    assert ask(server, wav(2)).status_code == 200
    assert ask(server, recording).status_code == 200
    assert len(encodes) == 2


def test_a_recording_is_checked_when_it_is_needed(server, encodes):
    recording = upload(server, wav(2)).json()["recording"]
    damage(server, "audio"), damage(server, "tokens")
    for stream in (False, True):
        assert error(ask(server, recording, stream=stream)) == (404, "recording_not_found")
    assert len(encodes) == 1
    assert ask(server, wav(2)).status_code == ask(server, recording).status_code == 200


def test_a_question_by_hash_reads_no_audio_whose_tokens_are_there_and_keeps_no_other_waiting(server, monkeypatch):
    recording = upload(server, wav(2)).json()["recording"]
    read, referred, whole, refer = [], [], store.sha256, module.Recordings.refer

    def counted(path):
        read.append(path.stat().st_size)
        return whole(path)

    def elsewhere(*given):
        referred.append(threading.current_thread() is not loop)
        return refer(*given)

    loop = next(each for each in threading.enumerate() if each.name.endswith("(run)"))
    monkeypatch.setattr(store, "sha256", counted)
    monkeypatch.setattr(module, "sha256", counted)
    monkeypatch.setattr(module.Recordings, "refer", elsewhere)
    assert ask(server, recording).status_code == 200
    with server.http as http:
        assert http.post("/v1/similarity", json={"recording": recording, "question": QUESTION}).status_code == 200
    assert referred == [True, True]
    assert len(read) == 2
    assert len(wav(2)) not in read  # the tokens were, twice


def test_the_store_forgets_the_oldest(lm, tmp_path):
    with running(lm, tmp_path, store_bytes=300_000) as server:
        hashes = [upload(server, wav(1, seed)).json()["recording"] for seed in range(6)]
        assert error(ask(server, hashes[0])) == (404, "recording_not_found")
        assert ask(server, hashes[-1]).status_code == 200
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 300_000


def test_a_recording_that_is_larger_than_the_store_is_answered_but_not_kept(lm, tmp_path):
    with running(lm, tmp_path, store_bytes=1000) as server:
        assert error(upload(server, wav(1))) == (507, "insufficient_storage")
        said = ask(server, wav(1)).json()["auricle"]
        assert said["cached"] is False
        assert error(ask(server, said["recording"])) == (404, "recording_not_found")
        assert not list(tmp_path.glob("[0-9a-f]*"))


def test_a_full_disk_is_said_and_hinders_no_answer(server, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(Store, "put", full)
    left = set(tmp_path.rglob("*"))
    assert error(upload(server, wav(1))) == (507, "insufficient_storage")
    assert ask(server, wav(1)).status_code == 200
    assert ask(server, wav(1), compression_ratio=4).status_code == 200
    monkeypatch.setattr(module, "_temporary", full)
    assert error(ask(server, wav(1))) == (507, "insufficient_storage")
    assert set(tmp_path.rglob("*")) == left
    monkeypatch.undo()

    async def written(*_):
        full()

    monkeypatch.setattr(UploadFile, "write", written)  # while the form is read
    assert error(upload(server, wav(1))) == (507, "insufficient_storage")
    with server.http as http:
        failures = [line for line in http.get("/metrics").text.splitlines() if "failures_total" in line]
    assert float(failures[-1].split()[-1]) >= 4


def test_what_a_killed_server_left_beside_its_store_is_removed_and_nothing_else(lm, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp" / "auricle-of-others").touch()
    left = {}
    for name in ("one", "other"):
        opened = Store(tmp_path / name, 1)  # keeps nothing
        options, metrics = Options(store=tmp_path / name), Metrics(lambda: 0, lambda: 0)
        given = module.Recordings(opened, lm, options, metrics).receive(io.BytesIO(wav(1)), ("wav",))
        left[name] = given.path
        opened.close()
        assert left["one"].read_bytes() == wav(1)  # another server does not touch it
    with running(lm, tmp_path / "one"):
        assert {*(tmp_path / "tmp").iterdir()} == {left["other"], tmp_path / "tmp" / "auricle-of-others"}


def test_two_models_do_not_share_tokens(server, lm, tmp_path, monkeypatch):
    ask(server, wav(1))
    monkeypatch.setitem(lm.__dict__, "encoder_hash", "f" * 64)
    metrics = Metrics(lambda: 0, lambda: 0)
    other = module.Recordings(Store(tmp_path / "other", 1), lm, Options(store=tmp_path), metrics)
    (name,) = (path.name for path in server.store.glob("*.tokens*"))
    assert not name.startswith(other._tokens_key(name.split(".")[0]))
    other._store.close()
