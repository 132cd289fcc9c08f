"""What goes wrong with a request, as OpenAI's clients expect it: a status, and JSON without traces and paths."""

import errno
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from torch import OutOfMemoryError

from auricle.errors import (
    AudioError,
    AudioLengthError,
    AuricleError,
    ContextLengthError,
    EndpointError,
    OptionError,
    QueryError,
    UnknownNameError,
)
from auricle.serving.engine import StoppedError

logger = logging.getLogger("auricle.serving")

CLOSED = 499  # what others call it; nobody is there to read it
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
# What a client caused, with its status and code; the message is auricle's own.
_CAUSED: tuple[tuple[type[AuricleError], int, str], ...] = (
    (AudioLengthError, 413, "recording_too_long"),
    (AudioError, 400, "invalid_audio"),
    (ContextLengthError, 400, "context_length_exceeded"),
    (QueryError, 400, "invalid_question"),
    (OptionError, 400, "invalid_option"),
    (UnknownNameError, 400, "unknown_name"),
)


class ApiError(HTTPException):
    """A request that is refused; the message is for the client."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, object]:
        """OpenAI's error object."""
        kind = _KINDS.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole reply; of a request that may not have been read whole, the rest is not waited for."""
        close = {"Connection": "close"} if self.status_code in (401, 403, 408, 413, 503) else {}
        return JSONResponse(self.body(), self.status_code, {**(self.headers or {}), **close})


def disk_full() -> ApiError:
    """What a client is told when its recording cannot be kept."""
    return ApiError(507, "The server has no room left for recordings; try again later.", "insufficient_storage")


def api_error(error: BaseException) -> ApiError:
    """Any exception as what the client is told; what is the server's own fault is logged and not told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ClientDisconnect):
        return ApiError(CLOSED, "The client has closed the connection.")
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    caused = next(((status, code) for kind, status, code in _CAUSED if isinstance(error, kind)), None)
    return ApiError(caused[0], str(error), caused[1]) if caused else _of_server(error)


def install(app: FastAPI) -> None:
    """Has every error of an app answered in this way."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return api_error(error).response()

    for kind in (HTTPException, RequestValidationError, AuricleError, OSError):
        app.add_exception_handler(kind, handle)


def _of_http(error: HTTPException) -> ApiError:
    cause = error.__cause__
    if isinstance(cause, OSError | MemoryError):  # while the body was read
        return api_error(cause)
    headers = dict(error.headers) if error.headers else None
    return ApiError(error.status_code, str(error.detail), headers=headers)


def _of_validation(error: RequestValidationError) -> ApiError:
    """The first complaint, without what was given, which may be long or secret."""
    first = error.errors()[0]
    place = ".".join(str(each) for each in first["loc"][1:])
    return ApiError(400, f"{place or 'The body'}: {first['msg']}.", "invalid_request", param=place or None)


def _of_server(error: BaseException) -> ApiError:
    if isinstance(error, StoppedError):
        return ApiError(503, "The server is being stopped.", "stopped")
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return disk_full()
    if isinstance(error, MemoryError | OutOfMemoryError):
        return ApiError(503, "The recording does not fit into the server's memory.", "out_of_memory")
    logger.error("A request failed.", exc_info=error)
    if isinstance(error, EndpointError):
        return ApiError(502, "The server that writes answers cannot be used; the log says why.", "engine_error")
    if isinstance(error, AuricleError):
        return ApiError(500, "The model could not answer; the server's log says why.", "model_error")
    return ApiError(500, "This is a bug in the server; its log says more.", "internal_error")
