"""The app: every route, and what they are wired to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from auricle import __version__
from auricle.serving import failures
from auricle.serving.engine import Engine
from auricle.serving.gate import Gate
from auricle.serving.options import Options
from auricle.serving.routes import chat, information, recordings
from auricle.serving.service import Service


def create_app(engine: Engine, options: Options) -> FastAPI:
    """An OpenAI-compatible server of a Speech LLM.

    Args:
        engine: runs the model; it is closed when the app is shut down.
        options: limits, and where recordings are kept.

    Raises:
        OptionError: the store cannot be used.
    """
    service = Service(engine, options)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(title="auricle", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, options=options, limit=service.limit, metrics=service.metrics)
    failures.install(app)
    for router in (chat.router(service), recordings.router(service), information.router(service)):
        app.include_router(router)
    if options.page.is_dir():
        _serve_page(app, options.page)
    return app


def _serve_page(app: FastAPI, folder: Path) -> None:
    """Routes for the files of a folder; a mount at / would answer 404 where an endpoint answers 405."""
    files = StaticFiles(directory=folder)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request, name: str = "index.html") -> Response:
        return await files.get_response(name, request.scope)
