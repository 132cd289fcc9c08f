"""POST /v1/chat/completions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
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

    @routes.post("/v1/chat/completions", openapi_extra=_documented())
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
        try:
            asked = await asyncio.to_thread(schema.ChatRequest.model_validate_json, body)
        except ValidationError as error:
            details = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            raise RequestValidationError(details) from None
        del body
        service.check_model(asked.model)
        text, audio = schema.parts(asked)
        question = schema.question(asked, text, service.options)
        return bool(asked.stream), await service.of_chat(audio), question


async def _last(pieces: AsyncGenerator[Piece | Answered, None]) -> Answered:
    """The answer behind all pieces."""
    async with aclosing(pieces):
        return [piece async for piece in pieces if isinstance(piece, Answered)][-1]


def _documented() -> dict[str, Any]:
    """The body, which is read by hand, for the specification."""
    documented = schema.ChatRequest.model_json_schema(ref_template="#/$defs/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(documented)}}}}


def _inlined(documented: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, none of which leads back to itself here."""
    definitions = documented.pop("$defs", {})

    def resolve(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, list):
            return [resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolve(definitions[value["$ref"].removeprefix("#/$defs/")])
        return {name: resolve(each) for name, each in value.items() if name != "discriminator"}

    found: dict[str, Any] = resolve(documented)
    return found
