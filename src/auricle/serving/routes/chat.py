"""POST /v1/chat/completions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from auricle.serving import schema
from auricle.serving.answering import Answered, Question
from auricle.serving.connection import Events, while_connected
from auricle.serving.engine import Piece
from auricle.serving.failures import ApiError
from auricle.serving.recordings import Upload
from auricle.serving.replies import Frame, events
from auricle.serving.service import Service


def router(service: Service) -> APIRouter:
    """The route, bound to a service."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions", openapi_extra=schema.documented(schema.ChatRequest, "application/json"))
    async def chat_completions(request: Request) -> Response:
        """Answers a question about a recording."""
        streamed, upload, question = await _read(service, request)
        frame = Frame(service.model, upload.recording)
        if streamed:
            return Events(lambda: events(frame, service.answer(upload, question)), upload.close)
        try:
            said = await while_connected(request.receive, _last(service.answer(upload, question)))
        finally:
            upload.close()
        return JSONResponse(frame.completion(said))

    return routes


async def _read(service: Service, request: Request) -> tuple[bool, Upload, Question]:
    """The request, its recording on the disk: nothing large is left in memory while it waits."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "Expected a body of type application/json.", "invalid_request")
    async with service.body(request) as body:
        asked = await asyncio.to_thread(schema.checked, schema.ChatRequest.model_validate_json, body)
        del body
        service.check_model(asked.model)
        text, audio = schema.parts(asked)
        question = schema.question(asked, text, service.options)
        return bool(asked.stream), await service.of_chat(audio), question


async def _last(pieces: AsyncGenerator[Piece | Answered, None]) -> Answered:
    """The answer behind all pieces."""
    async with aclosing(pieces):
        return [piece async for piece in pieces if isinstance(piece, Answered)][-1]
