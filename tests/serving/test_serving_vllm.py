"""The vLLM engine, through real HTTP, against a stand-in of vLLM that reads the exported LLM."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from fastapi import FastAPI

from auricle import asking
from auricle.errors import ContextLengthError, EndpointError, ModelError, OptionError
from auricle.models.export import export_llm
from auricle.pruning.fastv import FastV
from auricle.pruning.full import Full
from auricle.pruning.speechprune import SpeechPrune
from auricle.serving import vllm as module
from auricle.serving.app import create_app
from auricle.serving.engine import Decoding, StoppedError
from auricle.serving.local import LocalEngine
from auricle.serving.options import Options
from auricle.serving.vllm import VllmEngine
from auricle.summarization.summarizer import UNTRAINED
from fakes import FakeSpeechLM, noise
from serving.fake_vllm import FakeVllm
from serving.servers import KEY, QUESTION, Running, ask, body, error, leaving, mini, serving, wait_for, wav
from tiny_llama import TinyLlama

GREEDY = Decoding(24)
ENDLESS = Decoding(3000)


def ending(made):
    """With a token that ends answers."""
    made.model.generation_config.eos_token_id = 2
    return made


@pytest.fixture(scope="module")
def lm():
    return ending(mini())


@pytest.fixture(scope="module")
def folder(lm, tmp_path_factory):
    path = tmp_path_factory.mktemp("llm") / "llm"
    export_llm(lm, path)
    return path


@pytest.fixture
def vllm(folder):
    fake = FakeVllm(folder)
    with serving(fake.app) as url:
        fake.url = url
        yield fake


@pytest.fixture
def server(lm, vllm, tmp_path):
    """auricle's server on the engine."""
    engine = VllmEngine(lm, vllm.url)
    app = create_app(engine, Options(store=tmp_path / "store", sst=UNTRAINED))
    with serving(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield Running(url, lm, engine, tmp_path / "store", client)


async def pieces_of(engine, prompt, decoding=GREEDY, on_prefill=lambda: None):
    try:
        return [piece async for piece in engine.generate(prompt, decoding, on_prefill)]
    finally:
        await asyncio.to_thread(engine.close)


def answer_of(lm, url, prompt, decoding=GREEDY, **options):
    return asyncio.run(pieces_of(VllmEngine(lm, url, **options), prompt, decoding))


def prompt(lm, pruner=Full(), seconds=6.0, seed=0):  # noqa: B008 - it is frozen
    recording = asking.encode(lm, noise(seconds, seed), 16000)
    return asking.shortened(lm, recording, lm.query(QUESTION), pruner)[0]


@pytest.mark.parametrize("pruner", [Full(), SpeechPrune(0.6)], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("make", [mini, TinyLlama])
def test_pieces_are_those_of_the_local_engine(make, pruner, tmp_path):
    lm = ending(make())
    lm.model.generation_config.eos_token_id = lm.processor.eos_token_id if make is TinyLlama else 2
    export_llm(lm, tmp_path / "llm")
    fake = FakeVllm(tmp_path / "llm")
    with serving(fake.app) as url:
        for seed in range(3):
            asked, read = prompt(lm, pruner, seed=seed), []
            engine = VllmEngine(lm, url)
            there = asyncio.run(pieces_of(engine, asked, on_prefill=lambda: read.append(1)))  # noqa: B023
            assert there == asyncio.run(pieces_of(LocalEngine(lm), asked))
            assert "".join(piece.text for piece in there) == lm.generate(asked, GREEDY.max_new_tokens) != ""
            assert read == [1]
    assert {given["model"] for given in fake.bodies} == {"the-llm"}
    assert {(given["temperature"], given["max_tokens"], given["prompt"]) for given in fake.bodies} == {
        (0, 24, None)
    }


def test_a_token_that_ends_answers_ends_them(vllm):
    lm = ending(mini())
    asked = prompt(lm)
    answer_of(lm, vllm.url, asked)
    third = vllm.said[2]
    lm.model.generation_config.eos_token_id = [2, third]
    there = answer_of(lm, vllm.url, asked)
    assert there == asyncio.run(pieces_of(LocalEngine(lm), asked))
    assert there[-1].finish == "stop"
    assert there[-1].tokens <= 3 < len(vllm.said) - there[-1].tokens
    assert vllm.bodies[-1]["stop_token_ids"] == [2, third]


def test_drawing_is_told(lm, vllm):
    answer_of(lm, vllm.url, prompt(lm), Decoding(4, 0.7, 0.9, 5), key="the key")
    sent = vllm.bodies[0]
    assert [sent[name] for name in ("temperature", "top_p", "top_k", "seed")] == [0.7, 0.9, 0, 5]
    assert vllm.heads == ["Bearer the key"]


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_a_url_may_end_as_openais_clients_want_it(lm, vllm, end):
    assert answer_of(lm, vllm.url + end, prompt(lm)) == answer_of(lm, vllm.url, prompt(lm))


def test_a_prompt_is_packed_where_no_other_answer_waits(lm, vllm, monkeypatch):
    threads, pack, dumps = [], module.request, json.dumps

    def packing(*given):
        threads.append(threading.current_thread())
        return pack(*given)

    def dumping(value, **options):
        if "prompt_embeds" in value:
            threads.append(threading.current_thread())
        return dumps(value, **options)

    monkeypatch.setattr(module, "request", packing)
    monkeypatch.setattr(json, "dumps", dumping)
    assert answer_of(lm, vllm.url, prompt(lm))[-1].finish
    assert len(threads) == 2
    assert threading.main_thread() not in threads  # where `asyncio.run` has its loop


def test_the_server_answers_by_it_streamed_or_not(server, lm, vllm):
    audio = wav(4)
    for given in ({}, {"pruner": "speechprune", "pruning_rate": 0.4}):
        said = ask(server, audio, **given).json()
        streamed = ask(server, audio, stream=True, **given).text
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        parts = [event["choices"][0]["delta"].get("content") or "" for event in events]
        pruner = SpeechPrune(0.4) if given else Full()
        expected = asking.answer(
            lm, asking.encode(lm, noise(4), 16000), lm.query(QUESTION), pruner, max_new_tokens=8
        )
        assert said["choices"][0]["message"]["content"] == "".join(parts) == expected.answer != ""
        assert said["usage"]["completion_tokens"] == 8
        assert said["auricle"]["tokens"]["kept"] == expected.tokens.kept


def test_choices_and_transcripts_are_made_here(server, vllm):
    assert ask(server, wav(2), choices=["at noon", "at dawn"]).json()["auricle"]["choice"] in ("A", "B")
    with server.http as http:
        form = {"file": ("a.wav", wav(2), "audio/wav")}
        assert http.post("/v1/audio/transcriptions", files=form, data={"model": "auricle-mini"}).status_code == 200
    assert not vllm.bodies


def test_several_requests_are_in_work_at_a_time(server, vllm):
    alone = [ask(server, wav(2, seed)).json()["choices"] for seed in range(4)]
    assert vllm.most == 1
    vllm.slow = 0.05
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: ask(server, wav(2, seed)).json()["choices"], range(4)))
    assert together == alone
    assert vllm.most > 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_work_there(server, vllm, stream):
    vllm.slow = 0.02
    with leaving(server, body(wav(1), max_tokens=3000, stream=stream)):
        wait_for(lambda: vllm.working)
    wait_for(vllm.left.is_set)
    wait_for(lambda: not server.engine._running)
    assert vllm.working == 0
    vllm.slow = 0
    assert ask(server, wav(1)).status_code == 200


def test_the_server_says_what_vllm_cannot(server, vllm):
    refused = ask(server, wav(4), compression_ratio=4)
    assert error(refused) == (400, "invalid_option")
    assert "asks a memory, which vLLM cannot" in refused.text
    assert not vllm.bodies


@pytest.mark.parametrize(
    ("pruner", "words"),
    [
        (FastV(0.5, layer=1), "drops speech inside the LLM"),
        (SpeechPrune(0.5, positions="original"), "keeps the speech's own positions"),
    ],
)
def test_what_vllm_cannot_be_told(lm, vllm, pruner, words):
    with pytest.raises(OptionError, match=f"{words}.* a server with --engine local"):
        answer_of(lm, vllm.url, prompt(lm, pruner))


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_tells_that_vllm_fails_and_not_why(server, vllm, caplog, stream):
    for status in (400, 500):
        vllm.status = status
        assert error(ask(server, wav(1), stream=stream)) == (502, "engine_error")
        assert "secret reason" in caplog.text
        caplog.clear()
    vllm.status, vllm.last = 200, "error"
    failed = ask(server, wav(1), stream=stream)
    assert "engine_error" in failed.text
    assert "[DONE]" not in failed.text
    assert "secret" not in failed.text
    vllm.last = "as it is"
    assert ask(server, wav(1), stream=stream).status_code == 200


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_what_vllm_refuses(lm, vllm, status):
    vllm.status = status
    with pytest.raises(EndpointError, match=f"refused the request \\({status}\\)"):
        answer_of(lm, vllm.url, prompt(lm))


@pytest.mark.parametrize("last", ["none", "abort"])
def test_an_answer_that_breaks_off(lm, vllm, last):
    vllm.last = last
    with pytest.raises(EndpointError, match="broke an answer off"):
        answer_of(lm, vllm.url, prompt(lm))


def test_what_does_not_fit_into_its_context(lm, vllm):
    asked = prompt(lm)
    vllm.limit = len(asked) + GREEDY.max_new_tokens - 1
    with pytest.raises(ContextLengthError, match="larger --max-model-len"):
        answer_of(lm, vllm.url, asked)
    assert not vllm.bodies
    vllm.limit += 1
    assert answer_of(lm, vllm.url, asked)
    with pytest.raises(ContextLengthError, match="reads at most 4096"):
        answer_of(lm, vllm.url, asked, Decoding(4096))


def test_the_end_of_the_server_ends_answers(lm, vllm):
    vllm.slow = 0.02

    async def ended():
        engine = VllmEngine(lm, vllm.url)
        answer = engine.generate(prompt(lm), ENDLESS, lambda: None)
        await anext(answer)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        with pytest.raises(StoppedError):
            [piece async for piece in answer]
        await closing
        with pytest.raises(StoppedError):
            await anext(engine.generate(prompt(lm), GREEDY, lambda: None))

    asyncio.run(ended())
    wait_for(vllm.left.is_set)


def test_a_server_that_says_nothing(lm, vllm):
    vllm.slow = 2
    with pytest.raises(EndpointError, match="said nothing for too long"):
        answer_of(lm, vllm.url, prompt(lm), silent_seconds=0.2)


def test_what_is_no_vllm(lm):
    with serving(FastAPI()) as url, pytest.raises(EndpointError, match="refused the request \\(404\\)"):
        answer_of(lm, url, prompt(lm))
    other = FastAPI()
    other.get("/v1/models")(lambda: {"data": []})
    with serving(other) as url, pytest.raises(EndpointError, match="did not answer as vLLM does"):
        answer_of(lm, url, prompt(lm))


def test_nobody_is_there(lm):
    with pytest.raises(EndpointError, match="is it running, with --enable-prompt-embeds"):
        answer_of(lm, "http://127.0.0.1:9", prompt(lm))


def test_options(lm):
    with pytest.raises(OptionError, match="expected a URL"):
        VllmEngine(lm, "127.0.0.1:8001")
    with pytest.raises(OptionError, match="places is 0"):
        VllmEngine(lm, "http://127.0.0.1:8001", 0)
    with pytest.raises(ModelError, match="makes no prompts"):
        VllmEngine(FakeSpeechLM(), "http://127.0.0.1:8001")
