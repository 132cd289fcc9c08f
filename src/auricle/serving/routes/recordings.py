"""POST /v1/recordings, GET /v1/recordings/{hash}/audio, POST /v1/similarity, POST /v1/audio/transcriptions."""

import asyncio
import os
from functools import partial
from threading import Event
from typing import Annotated, Any, final

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from auricle.pruning.similarity import relevance
from auricle.questions import check_question
from auricle.serving import schema
from auricle.serving.connection import while_connected
from auricle.serving.engine import checkpoint
from auricle.serving.failures import ApiError, disk_full
from auricle.serving.recordings import Encoded, Recordings, Upload
from auricle.serving.service import Service
from auricle.speech_lm import SpeechLM
from auricle.transcribing import Transcript, transcribe

FORM = "multipart/form-data"


def router(service: Service) -> APIRouter:
    """The routes, bound to a service."""
    routes, kept = APIRouter(), service.recordings

    @routes.post("/v1/recordings", openapi_extra=schema.documented(schema.RecordingForm, FORM))
    async def add_recording(request: Request) -> JSONResponse:
        """Keeps and encodes a recording, to be asked by its hash."""
        async with service.form(request) as form:
            upload = await service.of_file(schema.checked(schema.RecordingForm.model_validate, form).file)
        try:
            if not upload.kept:
                raise disk_full()
            work = service.run(partial(_encode, recordings=kept, upload=upload))
            found = await while_connected(request.receive, work)
        finally:
            upload.close()
        return JSONResponse(
            {
                "recording": upload.recording,
                "duration": found.recording.duration,
                "tokens": len(found.recording.tokens),
                "seconds": found.recording.encode_seconds,
                "cached": found.cached,
                "peaks": found.peaks.tolist(),
            }
        )

    @routes.head("/v1/recordings/{recording}/audio", include_in_schema=False)
    @routes.get("/v1/recordings/{recording}/audio", response_class=FileResponse)
    async def recording_audio(recording: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]) -> Response:
        """A recording as a wav; parts of it by the header Range."""
        path = await service.wav(recording)
        return _Lent(path, headers={"ETag": f'"{recording}"'}, media_type="audio/wav")

    @routes.post("/v1/similarity")
    async def similarity(request: Request, asked: schema.SimilarityRequest) -> JSONResponse:
        """How much each moment of a recording resembles a question."""
        schema.check_size("question", asked.question, service.options)
        check_question(asked.question)
        upload = await asyncio.to_thread(kept.refer, asked.recording)
        try:
            work = service.run(partial(_relevance, recordings=kept, upload=upload, question=asked.question))
            return JSONResponse(await while_connected(request.receive, work))
        finally:
            upload.close()

    @routes.post("/v1/audio/transcriptions", openapi_extra=schema.documented(schema.TranscriptionForm, FORM))
    async def transcriptions(request: Request) -> Response:
        """Writes down a recording."""
        async with service.form(request) as form:
            asked = schema.checked(schema.TranscriptionForm.model_validate, form)
            service.check_model(asked.model)
            if asked.response_format not in ("json", "text") or asked.stream:
                raise ApiError(
                    400, "Expected response_format json or text, and no stream.", param="response_format"
                )
            upload = await service.of_file(asked.file)
        try:
            work = service.run(partial(_transcribe, recordings=kept, upload=upload))
            said = await while_connected(request.receive, work)
        finally:
            upload.close()
        return (
            PlainTextResponse(said.text) if asked.response_format == "text" else JSONResponse({"text": said.text})
        )

    return routes


@final
class _Lent(FileResponse):
    """A file that is removed when it has been sent; also where its client leaves or asks for a part it has not."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.unlink(self.path)


def _encode(lm: SpeechLM, stop: Event, *, recordings: Recordings, upload: Upload) -> Encoded:
    return recordings.encoded(lm, stop, upload)


def _relevance(
    lm: SpeechLM, stop: Event, *, recordings: Recordings, upload: Upload, question: str
) -> dict[str, Any]:
    tokens = recordings.encoded(lm, stop, upload).recording.tokens
    found = relevance(tokens.embeds, lm.query(question).embeds.to(tokens.embeds.device))
    return {"recording": upload.recording, "times": tokens.times.tolist(), "relevance": found.cpu().tolist()}


def _transcribe(lm: SpeechLM, stop: Event, *, recordings: Recordings, upload: Upload) -> Transcript:
    recording = recordings.encoded(lm, stop, upload).recording
    return transcribe(lm, recording, on_window=lambda *_: checkpoint(stop))
