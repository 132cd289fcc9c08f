"""The vLLM engine against a stand-in of vLLM's API that reads prompts with a real Llama."""

import asyncio
import base64
import io
import json
import threading
from contextlib import asynccontextmanager

import openai
import pytest
import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from auricle import asking
from auricle.errors import EndpointError, ModelError, OptionError
from auricle.pruning.fastv import FastV
from auricle.pruning.full import Full
from auricle.pruning.speechprune import SpeechPrune
from auricle.serving.app import create_app
from auricle.serving.engine import Decoding, StoppedError
from auricle.serving.options import Options
from auricle.serving.vllm import VllmEngine, request
from auricle.summarization.summarizer import UNTRAINED
from fakes import FakeSpeechLM, noise
from serving.servers import KEY, QUESTION, messages, serving, wait_for, wav
from tiny_llama import TinyLlama

GREEDY = Decoding(12)


class FakeVllm:
    """Answers as vLLM does: text as tokens come, with the space around it."""

    def __init__(self) -> None:
        self.lm = TinyLlama()
        self.bodies: list[dict] = []
        self.status, self.cut, self.left = 200, None, threading.Event()
        self.slow = 0.0
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/completions")(self.completions)

    async def models(self) -> dict:
        return {"data": [{"id": "the-llm"}]}

    async def completions(self, asked: Request):
        body = await asked.json()
        self.bodies.append(body)
        if self.status != 200:
            return JSONResponse({"error": {"message": "secret reason"}}, self.status)
        return StreamingResponse(self.events(body), media_type="text/event-stream")

    async def events(self, body: dict):
        embeds = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
        with torch.inference_mode():
            out = self.lm.model.generate(
                inputs_embeds=embeds[None],
                attention_mask=torch.ones(1, len(embeds), dtype=torch.long),
                max_new_tokens=body["max_tokens"],
                do_sample=False,
            )[0]
        said = ""
        try:
            for count in range(1, len(out) + 1):
                if self.cut is not None and count > self.cut:
                    return
                await asyncio.sleep(self.slow)
                text = self.lm.processor.decode(out[:count], skip_special_tokens=True)
                if count < len(out):  # half a character is not told
                    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
                reason = (
                    ("stop" if out[-1] == 2 or count < body["max_tokens"] else "length")
                    if count == len(out)
                    else None
                )
                event = {"choices": [{"text": text[len(said) :], "finish_reason": reason}]}
                said = text
                yield f"data: {json.dumps(event | {'usage': {'completion_tokens': count}})}\n\n"
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


@pytest.fixture
def vllm():
    fake = FakeVllm()
    with serving(fake.app) as url:
        fake.url = url
        yield fake


@pytest.fixture
def lm():
    return TinyLlama()


@asynccontextmanager
async def opened(lm, url):
    engine = VllmEngine(lm, url)
    try:
        yield engine
    finally:
        engine.close()


async def pieces_of(lm, url, prompt, decoding=GREEDY, on_prefill=lambda: None):
    async with opened(lm, url) as engine:
        return [piece async for piece in engine.generate(prompt, decoding, on_prefill)]


def prompts(lm):
    recording = asking.encode(lm, noise(6.0), 16000)
    query = lm.query(QUESTION)
    return [asking.shortened(lm, recording, query, each)[0] for each in (Full(), SpeechPrune(0.6))]


def test_answers_are_those_of_transformers(lm, vllm):
    for prompt in prompts(lm):
        read = []
        pieces = asyncio.run(pieces_of(lm, vllm.url, prompt, on_prefill=lambda: read.append(True)))  # noqa: B023
        assert "".join(piece.text for piece in pieces) == lm.generate(prompt, 12) != ""
        assert read == [True]
        assert len(pieces) > 2
        assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].finish in ("stop", "length")
        assert pieces[-1].tokens <= 12
    assert {body["model"] for body in vllm.bodies} == {"the-llm"}
    assert {(body["temperature"], body["max_tokens"]) for body in vllm.bodies} == {(0.0, 12)}


def test_the_server_answers_by_it(lm, vllm, tmp_path):
    app = create_app(VllmEngine(lm, vllm.url), Options(store=tmp_path, sst=UNTRAINED))
    with serving(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        audio = wav(4)
        options = {"model": "tiny-llama", "messages": messages(audio), "max_tokens": 8}
        said = client.chat.completions.create(**options, extra_body={"pruner": "uniform", "pruning_rate": 0.5})
        streamed = client.chat.completions.create(
            **options, stream=True, extra_body={"pruner": "uniform", "pruning_rate": 0.5}
        )
        parts = [chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices]
        assert "".join(parts) == said.choices[0].message.content != ""
        choices = {"choices": ["at noon", "at dawn"]}  # scored here, without vLLM
        before = len(vllm.bodies)
        assert client.chat.completions.create(**options, extra_body=choices).auricle["choice"] in ("A", "B")
        assert len(vllm.bodies) == before
        for refused in ({"compression_ratio": 4}, {"pruner": "fastv", "pruning_rate": 0.5}):
            with pytest.raises(openai.BadRequestError, match="which vLLM cannot"):
                client.chat.completions.create(**options, extra_body=refused)
        vllm.status = 500
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**options)
        assert "secret" not in str(caught.value)
        vllm.status = 200
        assert client.chat.completions.create(**options).choices[0].message.content


def test_a_client_that_leaves_ends_the_work_there(lm, vllm):
    vllm.slow = 0.05

    async def leave():
        async with opened(lm, vllm.url) as engine:
            answer = engine.generate(prompts(lm)[0], Decoding(200), lambda: None)
            async for _ in answer:
                break
            await answer.aclose()

    asyncio.run(leave())
    wait_for(vllm.left.is_set)


@pytest.mark.parametrize("status", [400, 404, 500])
def test_what_vllm_refuses(lm, vllm, status):
    vllm.status = status
    with pytest.raises(EndpointError, match=f"refused the request \\({status}\\)"):
        asyncio.run(pieces_of(lm, vllm.url, prompts(lm)[0]))


def test_an_answer_that_breaks_off(lm, vllm):
    vllm.cut = 2
    with pytest.raises(EndpointError, match="without saying why"):
        asyncio.run(pieces_of(lm, vllm.url, prompts(lm)[0]))


def test_the_end_of_the_server_ends_answers(lm, vllm):
    vllm.slow = 0.05

    async def ended():
        engine = VllmEngine(lm, vllm.url)
        answer = engine.generate(prompts(lm)[0], Decoding(200), lambda: None)
        await anext(answer)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        with pytest.raises(StoppedError):
            [piece async for piece in answer]
        await closing
        with pytest.raises(StoppedError):
            await anext(engine.generate(prompts(lm)[0], GREEDY, lambda: None))

    asyncio.run(ended())
    wait_for(vllm.left.is_set)


def test_a_server_that_says_nothing(lm, vllm):
    vllm.slow = 2

    async def ask():
        engine = VllmEngine(lm, vllm.url, silent_seconds=0.2)
        try:
            await anext(engine.generate(prompts(lm)[0], GREEDY, lambda: None))
        finally:
            engine.close()

    with pytest.raises(EndpointError, match="said nothing for too long"):
        asyncio.run(ask())


def test_what_is_no_vllm(lm):
    with serving(FastAPI()) as url, pytest.raises(EndpointError, match="refused the request \\(404\\)"):
        asyncio.run(pieces_of(lm, url, prompts(lm)[0]))
    other = FastAPI()
    other.get("/v1/models")(lambda: {"data": []})
    with serving(other) as url, pytest.raises(EndpointError, match="did not answer as vLLM does"):
        asyncio.run(pieces_of(lm, url, prompts(lm)[0]))


def test_nobody_is_there(lm):
    with pytest.raises(EndpointError, match="is it running, with --enable-prompt-embeds"):
        asyncio.run(pieces_of(lm, "http://127.0.0.1:9", prompts(lm)[0]))


def test_what_vllm_cannot_be_told(lm):
    recording = asking.encode(lm, noise(6.0), 16000)
    query = lm.query(QUESTION)
    for pruner, words in (
        (FastV(0.5, layer=1), "drops speech inside the LLM"),
        (SpeechPrune(0.5, positions="original"), "keeps the speech's own positions"),
    ):
        with pytest.raises(OptionError, match=words):
            request(asking.shortened(lm, recording, query, pruner)[0], GREEDY)


def test_options(lm):
    with pytest.raises(OptionError, match="expected a URL"):
        VllmEngine(lm, "127.0.0.1:8001")
    with pytest.raises(OptionError, match="places is 0"):
        VllmEngine(lm, "http://127.0.0.1:8001", 0)
    with pytest.raises(ModelError, match="makes no prompts"):
        VllmEngine(FakeSpeechLM(), "http://127.0.0.1:8001")
