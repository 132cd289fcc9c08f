"""`auricle serve` hands its options on."""

import sys

import pytest
import uvicorn

from auricle import loading
from auricle.serving import app as serving
from auricle.serving.vllm import VllmEngine
from tiny_llama import TinyLlama


@pytest.fixture
def started(monkeypatch):
    """What would have been served, and how."""
    calls = []
    monkeypatch.setattr(loading, "load", lambda *name, **options: calls.append((name, options)) or TinyLlama())
    monkeypatch.setattr(serving, "create_app", lambda engine, options: calls.append((engine, options)) or options)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append((app, options)))
    monkeypatch.delenv("AURICLE_API_KEY", raising=False)
    return calls


def test_options_reach_the_server(started, run, tmp_path):
    code, _, err = run(
        *("serve", "--store", tmp_path, "--store-gb", 0.5, "--max-queue", 3, "--max-upload-mb", 7),
        *("--sst", "untrained", "--max-minutes", 2, "--api-key", "k", "--port", 0),
        *("--host", "0.0.0.0", "--dtype", "float32", "--allow-host", "a.example", "--allow-host", "b.example"),
    )
    assert (code, err) == (0, "")
    (loaded, (engine, options), (served, how)) = started
    assert loaded == (("mini",), {"dtype": "float32", "device": None})
    assert isinstance(engine.lm, TinyLlama)
    assert served is options
    assert (options.store, options.store_bytes, options.max_queue) == (tmp_path, 500_000_000, 3)
    assert (options.max_upload_bytes, options.max_seconds, options.api_key) == (7_000_000, 120, "k")
    assert str(options.sst) == "untrained"
    assert options.hosts == ("localhost", "0.0.0.0", "a.example", "b.example")
    assert (how["host"], how["port"]) == ("0.0.0.0", 0)
    assert how["timeout_keep_alive"] > 5  # what clients keep a connection for


def test_the_key_may_be_in_the_environment(started, run, tmp_path, monkeypatch):
    monkeypatch.setenv("AURICLE_API_KEY", "secret")
    assert run("serve", "--store", tmp_path)[0] == 0
    assert started[1][1].api_key == "secret"
    assert "secret" not in run("serve", "--help")[1]


def test_a_server_for_everybody_is_told(started, run, tmp_path):
    assert "no --api-key" in run("serve", "--store", tmp_path, "--host", "0.0.0.0")[2]
    for host in ("127.0.0.1", "localhost", "::1"):
        assert run("serve", "--store", tmp_path, "--host", host)[2] == ""


@pytest.mark.parametrize(
    "wrong", [("--store-gb", 0), ("--max-minutes", -1), ("--api-key", ""), ("--port", 70000), ("--vllm-places", 0)]
)
def test_wrong_options_fail_before_a_model_is_loaded(started, run, tmp_path, wrong):
    code, _, err = run("serve", "--store", tmp_path, *wrong)
    assert code == 2
    assert err.startswith("error: ")
    assert not started


def test_without_its_packages_it_says_what_to_install(started, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = run("serve")
    assert code == 2
    assert "pip install 'auricle[serve]'" in err


def test_answers_may_be_written_by_vllm(started, run, tmp_path, monkeypatch):
    monkeypatch.setenv("AURICLE_VLLM_KEY", "secret")
    assert run("serve", "--store", tmp_path, "--engine", "vllm", "--vllm-url", "http://there:9/")[0] == 0
    engine = started[1][0]
    assert isinstance(engine, VllmEngine)
    assert (engine._url, engine._headers) == ("http://there:9", {"Authorization": "Bearer secret"})
    assert engine.places == VllmEngine(TinyLlama(), "http://there").places == 8
    del started[:]
    assert run("serve", "--store", tmp_path, "--engine", "vllm", "--vllm-places", 3)[0] == 0
    assert started[1][0].places == 3
    del started[:]
    code, _, err = run("serve", "--store", tmp_path, "--engine", "vllm", "--vllm-url", "there:9")
    assert code == 2
    assert "expected a URL" in err
    assert not started
