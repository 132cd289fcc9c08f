"""`auricle serve`: an OpenAI-compatible server."""

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.memory import Sst
from auricle.cli.options import Device, Dtype, Model, TrustRemoteCode, load

serve_app = typer.Typer()
VLLM = "http://127.0.0.1:8001"
KEEP_ALIVE = 30  # seconds; longer than clients keep idle connections
GRACE = 30  # seconds that running answers are given when the server is told to end


class EngineName(StrEnum):
    """Who writes answers."""

    local = "local"
    vllm = "vllm"


@serve_app.command()
def serve(
    *,
    model: Model = "mini",
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all the world.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    store: Annotated[
        Path | None, typer.Option(help="Folder of recordings, tokens and memories; by default in auricle's cache.")
    ] = None,
    store_gb: Annotated[float, typer.Option(help="What it may hold; the least recently used goes first.")] = 10,
    max_queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; one more is refused.")] = 64,
    max_upload_mb: Annotated[float, typer.Option(help="Of a recording as a file.")] = 200,
    max_minutes: Annotated[float, typer.Option(help="Of a recording.")] = 120,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="AURICLE_API_KEY", help="That requests must bear; others on the machine see options."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that clients call the server by, beside --host and IP addresses; '*' is any."),
    ] = None,
    sst: Sst = None,
    engine: Annotated[
        EngineName, typer.Option(help="Who writes answers: this process, or a vLLM server.")
    ] = EngineName.local,
    vllm_url: Annotated[str, typer.Option(help="Of that server, which serves 'auricle models export-llm'.")] = VLLM,
    vllm_key: Annotated[
        str | None, typer.Option(envvar="AURICLE_VLLM_KEY", help="That it asks for; see --api-key.")
    ] = None,
    vllm_places: Annotated[int, typer.Option(min=1, help="Requests that are in work at a time with it.")] = 8,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Serve a model by OpenAI's API, with a page to listen, ask and see what was kept."""
    try:
        import uvicorn

        from auricle.serving.app import create_app
    except ImportError as error:
        from auricle.errors import MissingDependencyError

        raise MissingDependencyError(
            f"The server needs {error.name}; install it with pip install 'auricle[serve]'."
        ) from error
    from auricle.models.mini.wheels import cache_dir
    from auricle.serving.local import LocalEngine
    from auricle.serving.options import Options
    from auricle.serving.vllm import VllmEngine, check_url

    check_url(vllm_url)

    options = Options(
        store=store or cache_dir() / "serve",
        store_bytes=round(store_gb * 1e9),
        max_queue=max_queue,
        max_upload_bytes=round(max_upload_mb * 1e6),
        max_seconds=max_minutes * 60,
        api_key=api_key,
        hosts=("localhost", host, *(allow_host or ())),
        sst=sst,
    )
    if api_key is None and not _loopback(host):
        typer.echo(f"Everybody who reaches {host} may ask: there is no --api-key.", err=True)
    lm = load(model, dtype, device, trust_remote_code)
    local = engine == EngineName.local
    writer = LocalEngine(lm) if local else VllmEngine(lm, vllm_url, vllm_places, key=vllm_key)
    uvicorn.run(
        create_app(writer, options),
        host=host,
        port=port,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
