"""A stand-in of vLLM's API that reads prompts of vectors with a real Llama: what `export_llm` wrote."""

import asyncio
import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from transformers import AutoModelForCausalLM

LAST = {"none": None, "abort": "abort"}


class FakeVllm:
    """One answer after the other, a token an event."""

    def __init__(self, folder: Path) -> None:
        self.llm: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str | None] = []
        self.status, self.limit = 200, 4096
        self.said: list[int] = []  # tokens of all answers
        self.last = "as it is"  # how answers end, or what an engine must not take for an end
        self.slow = 0.0  # seconds a token
        self.working = self.most = 0
        self.left = threading.Event()
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/completions")(self.completions)

    async def models(self) -> dict[str, Any]:
        return {"data": [{"id": "the-llm", "max_model_len": self.limit}]}

    async def completions(self, asked: Request) -> Response:
        body = await asked.json()
        self.bodies.append(body)
        self.heads.append(asked.headers.get("authorization"))
        if self.status != 200:
            return JSONResponse({"error": {"message": "secret reason"}}, self.status)
        return StreamingResponse(self.events(body), media_type="text/event-stream")

    async def events(self, body: dict[str, Any]):
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            async for ids, finish in self.tokens(body):
                if self.last == "error" and finish:
                    yield f"data: {json.dumps({'error': {'message': 'secret reason'}})}\n\n"
                    return
                told = finish if self.last == "as it is" else finish and LAST[self.last]
                choice = {"text": "", "token_ids": ids, "finish_reason": told}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            yield f"data: {json.dumps({'choices': []})}\n\n"
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise
        finally:
            self.working -= 1

    async def tokens(self, body: dict[str, Any]):
        read: Any = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)[None]
        cache = None
        for count in range(1, body["max_tokens"] + 1):
            await asyncio.sleep(self.slow)
            with torch.inference_mode():
                out = self.llm(inputs_embeds=read, past_key_values=cache, use_cache=True)
                chosen = out.logits[:, -1:].argmax(-1)
                read, cache = self.llm.get_input_embeddings()(chosen), out.past_key_values
            self.said.append(int(chosen))
            ended = int(chosen) in body["stop_token_ids"]
            yield [int(chosen)], "stop" if ended else "length" if count == body["max_tokens"] else None
            if ended:
                return
