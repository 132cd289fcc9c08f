"""GET /v1/models, /v1/pruners, /health and /metrics."""

from inspect import Parameter, signature
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from auricle import registry
from auricle.serving.metrics import CONTENT_TYPE
from auricle.serving.service import Service

OPTIONS = ("pruning_rate", "seed")  # of pruners, that a request may give


def router(service: Service) -> APIRouter:
    """The routes, bound to a service."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> JSONResponse:
        """The one model."""
        about = {"id": service.model, "object": "model", "created": 0, "owned_by": "auricle"}
        return JSONResponse({"object": "list", "data": [about]})

    @routes.get("/v1/pruners")
    async def pruners() -> JSONResponse:
        """The pruning methods, with the options that a request may give and their defaults."""
        return JSONResponse({"object": "list", "data": [_pruner(name) for name in registry.pruner_names()]})

    @routes.get("/health")
    async def health() -> JSONResponse:
        """Whether it runs, and how many wait."""
        return JSONResponse({"status": "ok", "model": service.model, "waiting": service.turns.waiting})

    @routes.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return routes


def _pruner(name: str) -> dict[str, Any]:
    factory = registry.pruner_class(name)
    parameters = signature(factory).parameters
    given = {option: parameters[option].default for option in OPTIONS if option in parameters}
    options = {option: None if default is Parameter.empty else default for option, default in given.items()}
    return {"id": name, "summary": (factory.__doc__ or "").strip().partition("\n")[0], "options": options}
